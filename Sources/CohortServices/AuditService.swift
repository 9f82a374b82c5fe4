package import CohortAPI
package import CohortCore
import Foundation
package import RPC
import SwiftProtobuf

/// `cohort.v1.AuditService` over an engine.
package struct AuditService: AuditServiceHandler {
    private static let hashBytes = 16

    private let engine: Engine

    package init(engine: Engine) {
        self.engine = engine
    }

    package func listAuditRows(
        _ request: ListAuditRowsRequest,
        _ responses: ResponseWriter<ListAuditRowsResponse>,
        _ call: ServerCall
    ) async throws(RPCError) {
        let query = try query(request)
        // First what tells that it is read: what is read contains it.
        try await note(call, customerID: request.customerID.isEmpty ? nil : request.customerID)
        let listing = try answering { () throws(DomainError) in try engine.listAudit(query) }
        while let items = try await answering({ () async throws(DomainError) in try await listing.next() }) {
            if items.isEmpty { continue }
            try await responses.write(.with { $0.rows = items.map { CohortAPI.AuditRow($0) } })
        }
    }

    package func verifyAudit(
        _ request: VerifyAuditRequest,
        _ responses: ResponseWriter<VerifyAuditResponse>,
        _ call: ServerCall
    ) async throws(RPCError) {
        var known: AuditHead?
        if !request.head.isEmpty {
            guard let head = AuditHead(text: request.head) else {
                throw .invalid(
                    "head",
                    "is no head; give POSITION:MAC with 64 hexadecimal digits, as in the server's log"
                )
            }
            known = head
        }
        try await note(call)
        let verification = try answering { () throws(DomainError) in try engine.verifyAudit(known: known) }
        while true {
            switch try await answering({ () async throws(DomainError) in try await verification.next() }) {
            case .checked(let rows, let total):
                try await responses.write(
                    .with {
                        $0.progress.rowsDone = rows
                        $0.progress.rowsTotal = total
                    }
                )
            case .done(let verdict):
                return try await responses.write(.with { $0.result = AuditVerificationResult(verdict) })
            }
        }
    }

    /// Nothing is read before that is durable.
    private func note(_ call: ServerCall, customerID: String? = nil) async throws(RPCError) {
        try await answering { () async throws(DomainError) in
            try await engine.noteDurably(
                AuditedCall(kind: .read, call, customerID: customerID),
                deadline: call.waitDeadline
            )
        }
    }

    private func query(_ request: ListAuditRowsRequest) throws(RPCError) -> AuditQuery {
        let most = engine.configuration.maximumAuditList
        guard request.limit <= most else { throw .invalid("limit", "is \(request.limit); it takes 1 to \(most)") }
        var query = AuditQuery(limit: request.limit == 0 ? min(1_000, most) : Int(request.limit))
        try answering { () throws(DomainError) in
            if request.hasSince { query.since = try request.since.domain(field: "since") }
            if request.hasUntil { query.until = try request.until.domain(field: "until") }
        }
        if !request.principal.isEmpty { query.principal = request.principal }
        if !request.method.isEmpty { query.method = request.method }
        if request.hasOutcome {
            guard request.outcome <= 16 else {
                throw .invalid("outcome", "is \(request.outcome); it takes a canonical status code, 0 to 16")
            }
            query.outcome = UInt8(request.outcome)
        }
        for kind in request.kinds {
            guard let kind = AuditItem.Kind(kind) else {
                throw .invalid("kinds", "holds \(kind.rawValue), which is no kind of row")
            }
            query.kinds.insert(kind)
        }
        if !request.customerID.isEmpty { query.customerID = request.customerID }
        if !request.customerHash.isEmpty {
            guard request.customerHash.count == Self.hashBytes else {
                throw .invalid(
                    "customer_hash",
                    "has \(request.customerHash.count) bytes; a hash has \(Self.hashBytes), as rows have it"
                )
            }
            query.customerHash = Array(request.customerHash)
        }
        query.isOldestFirst = request.oldestFirst
        return query
    }
}

extension AuditItem.Kind {
    fileprivate init?(_ kind: AuditKind) {
        switch kind {
        case .administration: self = .administration
        case .denial: self = .denial
        case .auditRead: self = .read
        case .dataChange: self = .dataChange
        case .chainStart: self = .start
        case .keyChange: self = .keyChanged
        case .rowsLost: self = .rowsLost
        case .head: self = .head
        case .unspecified, .UNRECOGNIZED: return nil
        }
    }
}

extension AuditKind {
    fileprivate init(_ kind: AuditItem.Kind) {
        self =
            switch kind {
            case .administration: .administration
            case .denial: .denial
            case .read: .auditRead
            case .dataChange: .dataChange
            case .start: .chainStart
            case .keyChanged: .keyChange
            case .rowsLost: .rowsLost
            case .head: .head
            }
    }
}

extension CohortAPI.AuditRow {
    fileprivate init(_ item: AuditItem) {
        self.init()
        position = item.position
        kind = AuditKind(item.kind)
        time = Google_Protobuf_Timestamp(item.time)
        principal = item.principal
        method = item.method
        outcome = UInt32(item.outcome)
        reason = item.reason
        peer = item.peer
        customerHash = Data(item.customer)
        cohortID = item.cohort
        sequence = item.sequence
        count = item.count
        change = item.change
    }
}

extension AuditVerificationResult {
    fileprivate init(_ verdict: AuditVerdict) {
        self.init()
        rowsChecked = verdict.rowsChecked
        entriesChecked = verdict.entriesChecked
        head = verdict.head.map { "\($0)" } ?? ""
        findings = verdict.findings.map { finding in
            .with {
                // The same numbers.
                $0.kind = AuditFindingKind(rawValue: Int(finding.kind.rawValue)) ?? .unspecified
                $0.position = finding.position
                $0.sequence = finding.sequence
                $0.text = finding.text
            }
        }
        findingCount = verdict.findingCount
        unchainedSequence = verdict.unchained
        headRemoved = verdict.headIsRemoved
    }
}

extension CohortAPI.AuditStatus {
    init(_ status: CohortCore.AuditStatus) {
        self.init()
        head = status.head.map { "\($0)" } ?? ""
        rows = status.upkeep.rows
        if let time = status.upkeep.oldest { oldestAt = Google_Protobuf_Timestamp(time) }
        rowsLost = status.lost
        buffered = UInt64(status.buffered)
        bufferLimit = UInt64(status.bufferLimit)
        keyID = status.keyID.hex
        verifying = status.isVerifying
        if let last = status.upkeep.verification {
            verifiedAt = Google_Protobuf_Timestamp(last.completedAt)
            findings = last.findings
        }
    }
}

import CohortAPI
import CohortCore
import RPC
import SwiftProtobuf

/// One upload of list members or overrides: collects ids, and makes them take effect with the last message.
struct UploadSession {
    private let engine: Engine
    private let context: WriteContext
    /// What the first message said, and where the ids go.
    private var begun: (cohort: String, mode: CohortAPI.UploadMode, upload: AssignmentUpload)?

    init(engine: Engine, context: WriteContext) {
        self.engine = engine
        self.context = context
    }

    /// Takes one message.
    ///
    /// - Returns: the receipt, of the last message.
    /// - Throws: INVALID_ARGUMENT for a message that does not fit or has too many ids, and what the engine refuses. The
    ///   upload is over then, and nothing has changed.
    mutating func take(_ request: UploadAssignmentsRequest) async throws(RPCError) -> UploadAssignmentsResponse? {
        let upload = try upload(for: request)
        try answering { () throws(DomainError) in try upload.add(request.customerIds) }
        guard request.complete else { return nil }
        let context = context
        let receipt = try await answering { () async throws(DomainError) in try await upload.commit(context: context) }
        return UploadAssignmentsResponse(receipt)
    }

    /// What a stream that ends before its last message is told.
    static var incomplete: RPCError {
        .invalid("complete", "is in no message: the upload ended early and nothing was changed; set it in the last one")
    }

    private mutating func upload(for request: UploadAssignmentsRequest) throws(RPCError) -> AssignmentUpload {
        guard let begun else {
            let mode = try request.mode.domain(field: "mode")
            let upload = try answering { () throws(DomainError) in
                try engine.upload(cohort: request.cohortID, mode: mode)
            }
            begun = (request.cohortID, request.mode, upload)
            return upload
        }
        guard request.cohortID.isEmpty || request.cohortID == begun.cohort else {
            throw .invalid("cohort_id", "is another than in the first message; leave it out, or begin another upload")
        }
        guard request.mode == .unspecified || request.mode == begun.mode else {
            throw .invalid("mode", "is another than in the first message; leave it out, or begin another upload")
        }
        return begun.upload
    }
}

extension CohortAPI.UploadMode {
    fileprivate func domain(field: String) throws(RPCError) -> CohortCore.UploadMode {
        switch self {
        case .listAdd: return .listAdd
        case .listRemove: return .listRemove
        case .listReplace: return .listReplace
        case .include: return .include
        case .exclude: return .exclude
        case .clear: return .clear
        case .unspecified, .UNRECOGNIZED:
            let problem = self == .unspecified ? "is missing" : "is \(rawValue), which this server does not know"
            throw .invalid(
                field,
                problem
                    + "; give one of LIST_ADD, LIST_REMOVE, LIST_REPLACE, INCLUDE, EXCLUDE, CLEAR in the first message"
            )
        }
    }
}

extension UploadAssignmentsResponse {
    fileprivate init(_ receipt: UploadReceipt) {
        self.init()
        cohort = CohortAPI.Cohort(receipt.cohort)
        sequence = receipt.sequence
        received = receipt.received
        added = receipt.added
        alreadyPresent = receipt.alreadyPresent
        removed = receipt.removed
        notPresent = receipt.notPresent
        unknown = receipt.unknown.count
        unknownIds = receipt.unknown.samples.map { CohortAPI.UploadedID($0) }
        invalid = receipt.invalid.count
        invalidIds = receipt.invalid.samples.map { CohortAPI.UploadedID($0) }
        erased = receipt.erased
        entered = receipt.entered
        left = receipt.left
    }
}

extension CohortAPI.UploadedID {
    fileprivate init(_ id: CohortCore.UploadedID) {
        self.init()
        position = id.position
        customerID = id.id
    }
}

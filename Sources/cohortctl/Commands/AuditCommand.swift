import ArgumentParser
import CohortAPI
import Foundation
import RPC
import SwiftProtobuf

struct AuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit",
        abstract: "Who did what, and whether that is still as it was written.",
        subcommands: [List.self, Verify.self, Head.self, Key.self]
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list",
            abstract: "Administrative calls, denials, readings of the audit, and changes of data. The newest first.",
            discussion:
                "With --output json each line is a row. The reading itself is noted in the audit before it is answered."
        )

        @Option(help: ArgumentHelp("Not before this time.", valueName: "time")) var since: TimeArgument?
        @Option(help: ArgumentHelp("Before this time.", valueName: "time")) var until: TimeArgument?
        @Option(help: "Only this caller.") var principal: String?
        @Option(help: "Only this method, as EraseCustomer or cohort.v1.CustomerService/EraseCustomer.")
        var method: String?
        @Option(help: "Only this outcome, as OK, NOT_FOUND or PERMISSION_DENIED.") var outcome: OutcomeName?
        @Option(help: "Only this kind: \(AuditKindName.words). May be repeated.") var kind: [AuditKindName] = []
        @Option(help: "Only what is about this customer; also one that has been erased.") var customer: String?
        @Option(help: ArgumentHelp("The same by the hash that rows have.", valueName: "hex")) var customerHash: String?
        @Option(help: "The most rows, 1 to 100000.") var limit: UInt32 = 100
        @Flag(help: "The oldest first.") var oldestFirst = false
        @ParentCommand var root: Cohortctl

        func validate() throws {
            if limit == 0 { throw ValidationError("--limit is 0; it takes 1 or more") }
            if let customerHash, Self.bytes(customerHash) == nil {
                throw ValidationError("--customer-hash is '\(customerHash)'; it takes 32 hexadecimal digits")
            }
        }

        func run() async throws {
            let request = ListAuditRowsRequest.with {
                if let since { $0.since = since.time }
                if let until { $0.until = until.time }
                $0.principal = principal ?? ""
                $0.method = method ?? ""
                if let outcome { $0.outcome = UInt32(outcome.code.rawValue) }
                $0.kinds = kind.map(\.kind)
                $0.customerID = customer ?? ""
                if let customerHash { $0.customerHash = Self.bytes(customerHash) ?? Data() }
                $0.limit = limit
                $0.oldestFirst = oldestFirst
            }
            try await root.session.withClient { client in
                var table = Table(["TIME", "KIND", "PRINCIPAL", "METHOD", "OUTCOME", "FROM", "WHAT"])
                let stream = try await CohortClient(client).audit.listAuditRows(
                    request,
                    options: root.session.callOptions
                )
                for try await page in stream {
                    for row in page.rows {
                        switch root.session.output {
                        case .json: try printJSON(row)
                        case .table: table.add(Self.cells(row))
                        }
                    }
                }
                if root.session.output == .table { print(table.text) }
            }
        }

        private static func bytes(_ hex: String) -> Data? {
            let digits = Array(hex)
            guard digits.count == 32, digits.allSatisfy({ $0.isASCII && $0.isHexDigit }) else { return nil }
            return Data(stride(from: 0, to: 32, by: 2).compactMap { UInt8(String(digits[$0..<$0 + 2]), radix: 16) })
        }

        static func cells(_ row: AuditRow) -> [String] {
            var what: [String] = []
            if !row.change.isEmpty { what.append(row.change) }
            if !row.cohortID.isEmpty { what.append(row.cohortID) }
            if !row.customerHash.isEmpty {
                what.append("customer " + row.customerHash.map { String(format: "%02x", $0) }.joined())
            }
            if !row.reason.isEmpty { what.append(row.reason) }
            if row.sequence > 0 {
                what.append(row.kind == .chainStart ? "not chained up to \(row.sequence)" : "sequence \(row.sequence)")
            }
            if row.count > 1 { what.append("\(row.count) times") }
            let isCall = !row.method.isEmpty || row.kind == .denial
            return [
                row.time.text, AuditKindName(row.kind)?.rawValue ?? "?", row.principal.isEmpty ? "-" : row.principal,
                row.method.isEmpty ? "-" : row.method,
                isCall ? "\(RPCError.Code(rawValue: Int(row.outcome)))" : "-", row.peer.isEmpty ? "-" : row.peer,
                what.joined(separator: ", "),
            ]
        }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify",
            abstract: "Check that no row of the audit and no entry of the change log was changed, removed or cut off.",
            discussion: """
                Exit status 1 if anything is found. What was cut off while the server was stopped can only be found by a head \
                that was noted before, as the server's log has it: give it with --head.
                """
        )

        @Option(
            help: ArgumentHelp("A head that was noted: the chain has to contain it.", valueName: "position:mac")
        )
        var head: String?
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let result = try await root.session.withClient { client in
                try await verify(CohortClient(client).audit)
            }
            try root.session.show(result) { Self.text(result) }
            if result.headRemoved { writeError("note: retention has removed the row of the head; it was not compared") }
            guard result.findingCount == 0 else {
                throw CommandFailure.failed("the audit does not verify: \(result.findingCount) findings")
            }
        }

        private func verify(_ audit: AuditServiceClient) async throws -> AuditVerificationResult {
            var bar: ProgressBar?
            defer { bar?.finish() }
            let request = VerifyAuditRequest.with { $0.head = head ?? "" }
            for try await step in try await audit.verifyAudit(request, options: root.session.buildOptions) {
                switch step.step {
                case .progress(let progress):
                    var drawn = bar ?? ProgressBar(total: Int(progress.rowsTotal))
                    drawn.update(
                        done: Int(progress.rowsDone),
                        note: "\(progress.rowsDone) of \(progress.rowsTotal) rows"
                    )
                    bar = drawn
                case .result(let result): return result
                case nil: break
                }
            }
            throw CommandFailure.failed("the server ended the verification without a result")
        }

        private static func text(_ result: AuditVerificationResult) -> String {
            var lines = ["\(result.rowsChecked) rows and \(result.entriesChecked) log entries checked"]
            if result.unchainedSequence > 0 {
                lines.append(
                    "log entries up to \(result.unchainedSequence) are from before the audit, and were not checked"
                )
            }
            if !result.head.isEmpty { lines.append("head \(result.head)") }
            for finding in result.findings { lines.append("\(finding.kind.text): \(finding.text)") }
            let more = result.findingCount - min(UInt64(result.findings.count), result.findingCount)
            if more > 0 { lines.append("and \(more) more") }
            return lines.joined(separator: "\n")
        }
    }

    struct Head: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "head",
            abstract: "The end of the audit, to note somewhere else and give to `audit verify --head` later."
        )

        @ParentCommand var root: Cohortctl

        func run() async throws {
            try await root.session.withClient { client in
                let status = try await CohortClient(client).operations.getStatus(
                    .init(),
                    options: root.session.callOptions
                )
                try root.session.show(status.audit) { status.audit.head }
            }
        }
    }

    struct Key: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "key",
            abstract: "Make a key for the audit: a line for the file that --audit-key-file of the server names."
        )

        func run() {
            var random = SystemRandomNumberGenerator()
            print(Data((0..<32).map { _ in UInt8.random(in: .min ... .max, using: &random) }).base64EncodedString())
        }
    }
}

/// The words for kinds of rows on the command line.
enum AuditKindName: String, ExpressibleByArgument, CaseIterable {
    case administration
    case denial
    case auditRead = "audit-read"
    case dataChange = "data-change"
    case chainStart = "chain-start"
    case keyChange = "key-change"
    case rowsLost = "rows-lost"
    case head

    static var words: String { allCases.map(\.rawValue).joined(separator: ", ") }

    var kind: AuditKind {
        switch self {
        case .administration: .administration
        case .denial: .denial
        case .auditRead: .auditRead
        case .dataChange: .dataChange
        case .chainStart: .chainStart
        case .keyChange: .keyChange
        case .rowsLost: .rowsLost
        case .head: .head
        }
    }

    init?(_ kind: AuditKind) {
        guard let name = Self.allCases.first(where: { $0.kind == kind }) else { return nil }
        self = name
    }
}

/// A canonical status code by its name.
struct OutcomeName: ExpressibleByArgument {
    let code: RPCError.Code

    init?(argument: String) {
        let codes = (0...16).map { RPCError.Code(rawValue: $0) }
        guard let code = codes.first(where: { "\($0)" == argument.uppercased() }) else { return nil }
        self.code = code
    }
}

extension AuditFindingKind {
    var text: String {
        switch self {
        case .changed: "CHANGED"
        case .removed: "REMOVED"
        case .added: "ADDED"
        case .truncated: "TRUNCATED"
        case .headDiffers: "HEAD_DIFFERS"
        case .retentionChanged: "RETENTION_CHANGED"
        case .unsoundRemoved: "UNSOUND_REMOVED"
        case .entryChanged: "ENTRY_CHANGED"
        case .entryRemoved: "ENTRY_REMOVED"
        case .entryUnaccounted: "ENTRY_UNACCOUNTED"
        case .keyUnknown: "KEY_UNKNOWN"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }
}

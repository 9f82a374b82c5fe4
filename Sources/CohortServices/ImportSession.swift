import CohortAPI
import CohortCore
import RPC
import SwiftProtobuf

/// One import: takes rows in order, and says of each message of rows what became of it.
struct ImportSession {
    /// Most rows in one message.
    static let maximumRows = 1_000

    private let engine: Engine
    private let context: WriteContext
    private var nextRow: UInt64?
    private var sequence: UInt64 = 0
    private var counts = ImportCounts()

    init(engine: Engine, context: WriteContext) {
        self.engine = engine
        self.context = context
    }

    /// Puts the rows of one message; durable when it returns.
    ///
    /// - Throws: INVALID_ARGUMENT when the message does not follow the one before or has too many rows, and what
    ///   concerns all of its rows, as UNAVAILABLE. A row that is refused is among the rejections instead.
    mutating func take(_ request: ImportCustomersRequest) async throws(RPCError) -> ImportCustomersResponse {
        guard request.rows.count <= Self.maximumRows else {
            throw .invalid("rows", "are \(request.rows.count); send at most \(Self.maximumRows) in a message")
        }
        if let nextRow, request.firstRow != nextRow {
            throw .invalid("first_row", "is \(request.firstRow) behind row \(nextRow); send \(nextRow)")
        }
        let (end, overflow) = request.firstRow.addingReportingOverflow(UInt64(request.rows.count))
        guard !overflow else { throw .invalid("first_row", "is too large for its rows; start from 0") }

        var rejections: [ImportRejection] = []
        var puts: [CustomerPut] = []
        var rowOfPut: [UInt64] = []
        puts.reserveCapacity(request.rows.count)
        rowOfPut.reserveCapacity(request.rows.count)
        for (offset, row) in request.rows.enumerated() {
            let number = request.firstRow + UInt64(offset)
            do throws(DomainError) {
                puts.append(try row.domain())
                rowOfPut.append(number)
            } catch {
                rejections.append(ImportRejection(row: number, customer: row.customerID, error))
            }
        }
        let results = try await put(puts)
        for (index, result) in results.enumerated() {
            switch result {
            case .success(let put):
                sequence = max(sequence, put.sequence)
                switch put.outcome {
                case .created: counts.created += 1
                case .updated: counts.updated += 1
                case .unchanged: counts.unchanged += 1
                case .stale: counts.stale += 1
                }
            case .failure(let error):
                rejections.append(ImportRejection(row: rowOfPut[index], customer: puts[index].customerID, error))
            }
        }
        counts.rejected += UInt64(rejections.count)
        nextRow = end
        rejections.sort { $0.row < $1.row }
        return acknowledgement(rejections)
    }

    /// The last message of the call.
    func receipt() -> ImportCustomersResponse {
        var receipt = acknowledgement([])
        receipt.complete = true
        return receipt
    }

    private func put(_ puts: [CustomerPut]) async throws(RPCError) -> [Result<PutResult, DomainError>] {
        guard !puts.isEmpty else { return [] }
        return try await answering { () async throws(DomainError) in
            try await engine.put(batch: puts, context: context)
        }
    }

    private func acknowledgement(_ rejections: [ImportRejection]) -> ImportCustomersResponse {
        .with {
            $0.rowsDone = nextRow ?? 0
            $0.sequence = sequence == 0 ? engine.status.sequence : sequence
            $0.counts = counts
            $0.rejections = rejections
        }
    }
}

extension ImportRejection {
    fileprivate init(row: UInt64, customer: String, _ error: DomainError) {
        self.init()
        self.row = row
        // It may be wrong by being long: what is echoed is bounded, or one acknowledgement could be larger than a frame.
        customerID = String(decoding: customer.utf8.prefix(256), as: UTF8.self)
        if case .invalidArgument(let violations) = error {
            field = violations.first?.field ?? ""
            description_p = violations.map { "\($0.field): \($0.description)" }.joined(separator: "; ")
        } else {
            description_p = RPCError(error).message
        }
        if description_p.utf8.count > 512 {
            description_p = String(decoding: description_p.utf8.prefix(512), as: UTF8.self) + "…"
        }
    }
}

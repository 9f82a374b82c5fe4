import CohortAPI
import CohortCore
import RPC
import SwiftProtobuf

/// One import: takes rows in order, and says of each message of rows what became of it.
struct ImportSession {
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
        if let nextRow, request.firstRow != nextRow {
            throw .invalid("first_row", "is \(request.firstRow) behind row \(nextRow); send \(nextRow)")
        }
        let (end, overflow) = request.firstRow.addingReportingOverflow(UInt64(request.rows.count))
        guard !overflow else { throw .invalid("first_row", "is too large for its rows; start from 0") }
        let rows = try await CustomerRows(request.rows, engine, context)
        sequence = max(sequence, rows.sequence ?? 0)
        counts.add(rows.results)
        nextRow = end
        return acknowledgement(rows.rejections(first: request.firstRow))
    }

    /// The last message of the call.
    func receipt() -> ImportCustomersResponse {
        var receipt = acknowledgement([])
        receipt.complete = true
        return receipt
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

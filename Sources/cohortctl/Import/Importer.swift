import CohortAPI
import Foundation
import RPC

/// Sends the rows of a file to the server and keeps account of what became of them.
struct Importer {
    /// Rows and bytes of input in one message; the server takes at most 1,000 rows and 4 MiB.
    private static let batchRows = 1_000
    private static let batchBytes = 512 << 10
    /// Messages under way: the server works on one while the next ones are made.
    private static let window = 4

    /// Rows that are sent together, and the refused rows between them.
    private struct Batch {
        var first: UInt64
        var sent: [ImportRow] = []
        var refused: [(row: ImportRow, reason: String)] = []
        var bytes = 0
        /// Rows of the file up to the end of this batch.
        var rowsInFile = 0
    }

    private var source: any RowSource
    private var pending: ArraySlice<ImportRow> = []
    private let rejects: RejectsFile?
    private var nextRow: UInt64 = 0
    private var rowsRead = 0
    private var isAtEnd = false
    private var lastCounts = ImportCounts()
    private(set) var receipt: ImportReceipt

    /// - Parameter receipt: What an earlier import of the file did; its rows are passed over.
    init(source: any RowSource, rejects: RejectsFile?, resuming receipt: ImportReceipt = ImportReceipt()) {
        self.source = source
        self.rejects = rejects
        self.receipt = receipt
    }

    /// Sends everything.
    ///
    /// - Parameter progress: Called after every acknowledgement with the bytes read and the account so far, which is
    ///   durable.
    /// - Throws: `RPCError` when the call ends early; what was acknowledged until then is in ``receipt``.
    mutating func run(
        _ client: CustomerServiceClient,
        progress: (_ bytes: Int, ImportReceipt) throws -> Void
    ) async throws {
        // No deadline: a large file takes as long as it takes.
        let call = try await client.importCustomers()
        let (messages, outgoing) = AsyncStream.makeStream(of: ImportCustomersRequest.self)
        // Written by a task of its own: while the server waits for an acknowledgement to be read, it reads nothing, and
        // whoever waits to write would wait for ever. The window bounds what the stream holds.
        async let writing: Void = Self.write(messages, to: call.requests)
        defer { outgoing.finish() }
        try await exchange(call.responses, outgoing, progress)
        outgoing.finish()
        try await writing
    }

    private static func write(
        _ messages: AsyncStream<ImportCustomersRequest>,
        to requests: RequestWriter<ImportCustomersRequest>
    ) async throws {
        for await message in messages { try await requests.write(message) }
        requests.finish()
    }

    private mutating func exchange(
        _ responses: ResponseStream<ImportCustomersResponse>,
        _ outgoing: AsyncStream<ImportCustomersRequest>.Continuation,
        _ progress: (_ bytes: Int, ImportReceipt) throws -> Void
    ) async throws {
        var answers = responses.makeAsyncIterator()
        var underWay: [Batch] = []
        try skip(receipt.rows)
        while true {
            if underWay.count < Self.window, !isAtEnd, let batch = try nextBatch() {
                // A batch without rows to send is settled along with the next one.
                if !batch.sent.isEmpty { outgoing.yield(Self.message(batch)) }
                underWay.append(batch)
            } else if !underWay.isEmpty {
                try await settle(&underWay, &answers)
                try progress(source.bytesRead, receipt)
            } else {
                break
            }
        }
        outgoing.finish()
        while let answer = try await answers.next(isolation: #isolation) {
            receipt.sequence = max(receipt.sequence, answer.sequence)
            if answer.complete { return }
        }
        throw CommandFailure.failed("the server ended the import without a receipt; run it again with --resume")
    }

    private mutating func settle(
        _ underWay: inout [Batch],
        _ answers: inout ResponseStream<ImportCustomersResponse>.AsyncIterator
    ) async throws {
        let batch = underWay.removeFirst()
        var refused = batch.refused
        if !batch.sent.isEmpty {
            guard let answer = try await answers.next(isolation: #isolation), !answer.complete else {
                throw CommandFailure.failed("the server ended the import early; run it again with --resume")
            }
            guard answer.rowsDone == batch.first + UInt64(batch.sent.count) else {
                throw CommandFailure.failed("the server acknowledged row \(answer.rowsDone), which was not its turn")
            }
            receipt.add(answer.counts, since: lastCounts)
            lastCounts = answer.counts
            receipt.sequence = max(receipt.sequence, answer.sequence)
            for rejection in answer.rejections {
                refused.append((batch.sent[Int(rejection.row - batch.first)], rejection.description_p))
            }
        }
        refused.sort { $0.row.line < $1.row.line }
        for (row, reason) in refused {
            receipt.reject(line: row.line, reason: reason)
            try rejects?.add(line: row.line, reason: reason, row: row.text)
        }
        receipt.rows = batch.rowsInFile
    }

    private mutating func nextBatch() throws -> Batch? {
        var batch = Batch(first: nextRow)
        while batch.sent.count + batch.refused.count < Self.batchRows, batch.bytes < Self.batchBytes {
            guard let row = try nextRowOfFile() else {
                isAtEnd = true
                break
            }
            batch.bytes += row.text.utf8.count
            switch row.content {
            case .success: batch.sent.append(row)
            case .failure(let fault): batch.refused.append((row, fault.text))
            }
        }
        batch.rowsInFile = rowsRead
        nextRow += UInt64(batch.sent.count)
        return batch.sent.isEmpty && batch.refused.isEmpty ? nil : batch
    }

    private mutating func nextRowOfFile() throws -> ImportRow? {
        if pending.isEmpty { pending = try source.next()[...] }
        guard let row = pending.popFirst() else { return nil }
        rowsRead += 1
        return row
    }

    private mutating func skip(_ count: Int) throws {
        for _ in 0..<count {
            guard try nextRowOfFile() != nil else {
                throw CommandFailure.failed(
                    "the file has \(rowsRead) rows and \(count) of them are done already; import without --resume"
                )
            }
        }
    }

    private static func message(_ batch: Batch) -> ImportCustomersRequest {
        var request = ImportCustomersRequest()
        request.firstRow = batch.first
        request.rows = batch.sent.compactMap { try? $0.content.get() }
        return request
    }
}

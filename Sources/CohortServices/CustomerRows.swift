import CohortAPI
import CohortCore
import RPC
import SwiftProtobuf

/// The rows of one message, of an import or of a batch: each is a put of its own.
struct CustomerRows {
    let rows: [PutCustomerRequest]
    /// As many as there are rows, in the same order.
    let results: [Result<PutResult, DomainError>]

    /// Puts them in order; durable when it returns.
    ///
    /// - Throws: INVALID_ARGUMENT for too many rows, and what concerns all of them, as UNAVAILABLE. A row that is refused
    ///   is among the results instead.
    init(
        _ rows: [PutCustomerRequest],
        _ engine: Engine,
        _ context: WriteContext
    ) async throws(RPCError) {
        let limit = engine.configuration.maximumBatchRows
        guard rows.count <= limit else {
            throw .invalid("rows", "are \(rows.count); send at most \(limit) in a message")
        }
        self.rows = rows
        var puts: [CustomerPut] = []
        puts.reserveCapacity(rows.count)
        var refused: [Int: DomainError] = [:]
        for (i, row) in rows.enumerated() {
            do throws(DomainError) {
                puts.append(try row.domain())
            } catch {
                refused[i] = error
            }
        }
        guard !puts.isEmpty else {
            results = rows.indices.map { .failure(refused[$0] ?? .internal(message: "a row has no result")) }
            return
        }
        let taken = puts
        var answers = try await answering { () async throws(DomainError) in
            try await engine.put(batch: taken, context: context)
        }[...]
        results = rows.indices.map { i in
            if let error = refused[i] { return .failure(error) }
            return answers.popFirst() ?? .failure(.internal(message: "a row has no result"))
        }
    }

    /// The sequence that includes all of them; `nil` if every row was refused.
    var sequence: UInt64? { results.compactMap { try? $0.get().sequence }.max() }

    /// What is told of the refused rows.
    ///
    /// - Parameter first: the number of the first row.
    func rejections(first: UInt64) -> [ImportRejection] {
        results.indices.compactMap { rejection($0, first: first) }
    }

    /// What is told of one row if it was refused.
    func rejection(_ i: Int, first: UInt64) -> ImportRejection? {
        guard case .failure(let error) = results[i] else { return nil }
        return ImportRejection(row: first + UInt64(i), customer: rows[i].customerID, error)
    }
}

extension ImportCounts {
    mutating func add(_ results: [Result<PutResult, DomainError>]) {
        for result in results {
            switch result {
            case .success(let put):
                switch put.outcome {
                case .created: created += 1
                case .updated: updated += 1
                case .unchanged: unchanged += 1
                case .stale: stale += 1
                }
            case .failure: rejected += 1
            }
        }
    }
}

extension PutCustomerResponse {
    init(_ result: PutResult) {
        self.init()
        sequence = result.sequence
        outcome = CohortAPI.Outcome(result.outcome)
        entered = result.entered
        left = result.left
    }
}

extension BatchPutCustomersResponse {
    /// Bytes of cohort ids in one response: far below what a frame takes.
    static let maximumCohortBytes = 2 << 20

    init(_ rows: CustomerRows, current: UInt64, maximumCohortBytes: Int = Self.maximumCohortBytes) {
        self.init()
        sequence = rows.sequence ?? current
        counts.add(rows.results)
        var bytes = 0
        results = rows.results.indices.map { i in
            var result = Result()
            switch rows.results[i] {
            case .success(let put):
                result.put = PutCustomerResponse(put)
                bytes += (put.entered + put.left).reduce(0) { $0 + $1.utf8.count + 2 }
                if bytes > maximumCohortBytes {
                    result.put.entered = []
                    result.put.left = []
                    result.cohortsOmitted = !put.entered.isEmpty || !put.left.isEmpty
                }
            case .failure:
                result.rejection = rows.rejection(i, first: 0) ?? ImportRejection()
            }
            return result
        }
    }
}

extension ImportRejection {
    fileprivate init(row: UInt64, customer: String, _ error: DomainError) {
        self.init()
        self.row = row
        // It may be wrong by being long: what is echoed is bounded, or one acknowledgement could be larger than a frame.
        customerID = customer.cut(bytes: 256)
        if case .invalidArgument(let violations) = error {
            field = (violations.first?.field ?? "").cut(bytes: 256)
            description_p = violations.map { "\($0.field): \($0.description)" }.joined(separator: "; ")
        } else {
            description_p = RPCError(error).message
        }
        if description_p.utf8.count > 512 { description_p = description_p.cut(bytes: 512) + "…" }
    }
}

extension String {
    fileprivate func cut(bytes: Int) -> String {
        utf8.count <= bytes ? self : String(decoding: utf8.prefix(bytes), as: UTF8.self)
    }
}

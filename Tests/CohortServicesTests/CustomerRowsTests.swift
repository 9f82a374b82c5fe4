import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortServices

@Suite("Batches of puts")
struct CustomerRowsTests {
    private static let context = WriteContext(principal: "tester", method: "test")

    private func withEngine(
        _ configuration: EngineConfiguration = .init(),
        _ body: (Engine) async throws -> Void
    ) async throws {
        let engine = Engine(store: MemoryStore(), configuration: configuration)
        try await onThread { try engine.start() }
        let result: Result<Void, any Error>
        do { result = .success(try await body(engine)) } catch { result = .failure(error) }
        try await onThread { engine.shutdown() }
        try result.get()
    }

    private func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }

    private func row(_ id: String, _ spend: Double) -> PutCustomerRequest {
        .with {
            $0.customerID = id
            $0.attributes = ["daily_spend": .with { $0.doubleValue = spend }]
        }
    }

    @Test("The names of cohorts are left out, and said to be, where they would make the answer too large")
    func omitted() async throws {
        try await withEngine { engine in
            for id in ["FIRST", "SECOND"] {
                _ = try await engine.createCohort(
                    CohortDefinition(id: id, kind: .rule, rule: "customer.daily_spend > 1.0"),
                    context: Self.context
                )
            }
            let rows = try await CustomerRows([row("a", 2), row("b", 2), row("c", 0)], engine, Self.context)
            let whole = BatchPutCustomersResponse(rows, current: 0)
            #expect(whole.results.map(\.put.entered) == [["FIRST", "SECOND"], ["FIRST", "SECOND"], []])
            #expect(whole.results.allSatisfy { !$0.cohortsOmitted })
            // Room for those of one row: two names, with two bytes each of their own.
            let cut = BatchPutCustomersResponse(rows, current: 0, maximumCohortBytes: 15)
            #expect(cut.results.map(\.put.entered) == [["FIRST", "SECOND"], [], []])
            #expect(cut.results.map(\.cohortsOmitted) == [false, true, false])
            #expect(cut.sequence == whole.sequence && cut.counts.created == 3)
        }
    }

    @Test("What a refusal echoes is bounded, and a batch of refusals has the current sequence")
    func refusals() async throws {
        try await withEngine { engine in
            let long = String(repeating: "x", count: 5_000)
            let rows = try await CustomerRows(
                [.with { $0.customerID = long }, .with { $0.attributes = [long: .init()] }],
                engine,
                Self.context
            )
            let answer = BatchPutCustomersResponse(rows, current: 7)
            #expect(answer.sequence == 7 && answer.counts.rejected == 2)
            for (i, result) in answer.results.enumerated() {
                #expect(result.rejection.row == UInt64(i) && result.rejection.customerID.utf8.count <= 256)
                #expect(result.rejection.field.utf8.count <= 256 && result.rejection.description_p.utf8.count <= 515)
            }
        }
    }

    @Test("A full queue refuses the whole batch, with a time to wait, and nothing of it is written")
    func fullQueue() async throws {
        var configuration = EngineConfiguration()
        configuration.queueCapacity = 4
        try await withEngine(configuration) { engine in
            let gate = DispatchSemaphore(value: 0)
            // Keeps the committer busy, so that what is written next has to wait.
            let isBusy = Mutex(false)
            let busy = Task {
                try await engine.alone { _ throws(DomainError) in
                    isBusy.withLock { $0 = true }
                    gate.wait()
                }
            }
            while !isBusy.withLock({ $0 }) { await Task.yield() }
            let first = Task { try await CustomerRows([self.row("a", 1), self.row("b", 1)], engine, Self.context) }
            while engine.status.queueDepth < 2 { await Task.yield() }
            let error = await #expect(throws: RPCError.self) {
                _ = try await CustomerRows([row("c", 1), row("d", 1), row("e", 1)], engine, Self.context)
            }
            gate.signal()
            #expect(error?.code == .resourceExhausted && error?.retryDelay != nil)
            #expect(error?.quotaFailure?.violations.first?.subject == "write_queue")
            #expect(try await first.value.results.count == 2)
            _ = try await busy.value
            #expect(engine.status.customers == 2)
        }
    }
}

import Foundation
import Testing

@testable import CohortCore

@Suite("Worker pool")
struct WorkerPoolTests {
    @Test("A read whose caller has gone is not made, and the caller is told while others still wait")
    func cancelled() async throws {
        let pool = WorkerPool(threads: 1, capacity: 10)
        let gate = Monitor(false)
        let made = Monitor<[Int]>([])
        // Holds the only thread.
        let first = Task {
            try await pool.run { () -> Result<Void, DomainError> in
                _ = gate.wait { $0 ? true : nil }
                made.update { $0.append(1) }
                return .success(())
            }
        }
        let second = Task {
            try await pool.run { () -> Result<Void, DomainError> in
                made.update { $0.append(2) }
                return .success(())
            }
        }
        second.cancel()
        // Told though the thread is held.
        let isTold = Monitor<Bool?>(nil)
        Task {
            let result = await second.result
            isTold.update { $0 = (try? result.get()) == nil }
        }
        #expect(try await blocking { isTold.wait(seconds: 30) { $0 } } == true)
        let third = Task {
            try await pool.run { () -> Result<Int, DomainError> in
                made.update { $0.append(3) }
                return .success(3)
            }
        }
        gate.update { $0 = true }
        try await first.value
        #expect(try await third.value == 3)
        pool.stop()
        #expect(made.read { $0 } == [1, 3])
    }

    @Test("Every one of many reads is made once, however many threads there are")
    func many() async throws {
        let pool = WorkerPool(threads: 6, capacity: 10_000)
        let sum = try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 0..<5_000 { group.addTask { try await pool.run { .success(number) } } }
            return try await group.reduce(0, +)
        }
        #expect(sum == 5_000 * 4_999 / 2)
        pool.stop()
    }

    @Test("What is beyond the capacity is refused, and after the stop everything")
    func limits() async throws {
        let pool = WorkerPool(threads: 1, capacity: 1)
        let gate = Monitor((isHeld: false, isOpen: false))
        let first = Task {
            try await pool.run { () -> Result<Void, DomainError> in
                gate.update { $0.isHeld = true }
                _ = gate.wait { $0.isOpen ? true : nil }
                return .success(())
            }
        }
        while !gate.read({ $0.isHeld }) { await Task.yield() }
        let answers = await withTaskGroup(of: Result<Int, any Error>.self) { group in
            for number in 0..<3 {
                group.addTask { await Task { try await pool.run { .success(number) } }.result }
            }
            var answers: [Result<Int, any Error>] = []
            // One waits; the two others are told before anything moves.
            for await answer in group {
                answers.append(answer)
                if answers.count == 2 { gate.update { $0.isOpen = true } }
            }
            return answers
        }
        for answer in answers.prefix(2) {
            guard case .failure(let error) = answer,
                case .resourceExhausted("store_reads", _, _)? = error as? DomainError
            else {
                Issue.record("not refused: \(answer)")
                continue
            }
        }
        if case .failure(let error)? = answers.last { Issue.record(error) }
        try await first.value
        pool.stop()
        await #expect(throws: DomainError.self) { try await pool.run { () -> Result<Int, DomainError> in .success(4) } }
    }
}

import Foundation
import Testing

/// A seeded harness over the frame decoder, the envelope and the connections of server and client.
///
/// The fixed-seed part runs always; `COHORT_LONG=1` runs 10 million inputs from a seed that is printed (`COHORT_FUZZ_SEED`
/// sets it). An input that fails belongs into ``FuzzInputs/regressions``. `scripts/fuzz` has libFuzzer look for more.
@Suite("Fuzzing")
struct FuzzTests {
    private static let isLong = ProcessInfo.processInfo.environment["COHORT_LONG"] == "1"

    private static func seed() -> UInt64 {
        let seed =
            ProcessInfo.processInfo.environment["COHORT_FUZZ_SEED"].flatMap(UInt64.init)
            ?? UInt64.random(in: 1...UInt64.max)
        print("fuzzing with COHORT_FUZZ_SEED=\(seed)")
        return seed
    }

    /// Runs `body` on a thread of its own: it never waits, and other tests have deadlines to keep.
    private static func onThread(_ body: @escaping @Sendable () throws -> String?) async throws {
        let problem = try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
        if let problem { Issue.record("\(problem)") }
    }

    private static func runServer(_ count: Int, seed: UInt64) throws -> String? {
        var random = SeededGenerator(seed: seed)
        let stock = FuzzedServer(extended: false)
        let extended = FuzzedServer(extended: true)
        for round in 0..<count {
            let input =
                round < FuzzInputs.regressions.count
                ? FuzzInputs.regressions[round] : FuzzInputs.fromClient(&random)
            let problem =
                try FuzzedDecoder.problem(with: input)
                ?? (round.isMultiple(of: 2) ? stock : extended).problem(with: input)
            if let problem { return "seed \(seed), round \(round): \(problem): \(input)" }
            if round % 1_000_000 == 999_999 { print("\(round + 1) inputs, \(residentBytes() >> 20) MiB resident") }
        }
        stock.reset()
        extended.reset()
        return nil
    }

    private static func runClient(_ count: Int, seed: UInt64) throws -> String? {
        var random = SeededGenerator(seed: seed)
        for round in 0..<count {
            let client = try FuzzedClient(extended: round.isMultiple(of: 2))
            let inputs = (0..<3).map { _ in FuzzInputs.fromServer(&random) }
            var problem: String?
            for input in inputs where problem == nil { problem = try client.problem(with: input) }
            problem = client.problemAtEnd() ?? problem
            if let problem { return "seed \(seed), round \(round): \(problem): \(inputs)" }
        }
        return nil
    }

    @Test("a server takes whatever a client sends", arguments: [1, 2, 3] as [UInt64])
    func server(_ seed: UInt64) async throws { try await Self.onThread { try Self.runServer(3000, seed: seed) } }

    @Test("every call is told its end once, whatever the server sends", arguments: [1, 2, 3] as [UInt64])
    func client(_ seed: UInt64) async throws { try await Self.onThread { try Self.runClient(1000, seed: seed) } }

    @Test("ten million inputs to a server", .enabled(if: isLong))
    func longServer() async throws {
        let before = Self.residentBytes()
        let seed = Self.seed()
        try await Self.onThread { try Self.runServer(10_000_000, seed: seed) }
        let growth = Self.residentBytes() - before
        #expect(growth < 200 << 20, "resident memory grew by \(growth) bytes")
    }

    @Test("a million sessions of a client", .enabled(if: isLong))
    func longClient() async throws {
        let seed = Self.seed()
        try await Self.onThread { try Self.runClient(1_000_000, seed: seed) }
    }

    private static func residentBytes() -> Int {
        guard let status = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return 0 }
        return (status.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4096
    }
}

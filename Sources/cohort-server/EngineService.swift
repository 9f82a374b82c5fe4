import CohortCore
import Foundation
import Logging
import ServiceLifecycle

/// The engine's life: loads at start, while the server already listens, and closes the store at the end.
struct EngineService: Service {
    let engine: Engine
    let logger: Logger

    /// - Throws: What refuses the start, with directions.
    func run() async throws {
        let begin = ContinuousClock.now
        try await onThread("cohort-start") { try engine.start() }
        let status = engine.status
        logger.info(
            "the index is loaded",
            metadata: [
                "customers": "\(status.customers)", "sequence": "\(status.sequence)", "store": "\(status.storeID)",
                "seconds": "\(begin.duration(to: .now) / .seconds(1))",
            ]
        )
        try? await gracefulShutdown()
        await onThread("cohort-stop") { engine.shutdown() }
        logger.info("the store is closed")
    }
}

/// Runs blocking work on a thread of its own, away from the pool that serves tasks.
func onThread<Value: Sendable, Failure: Error>(
    _ name: String,
    _ body: @escaping @Sendable () throws(Failure) -> Value
) async throws(Failure) -> Value {
    let result = await withCheckedContinuation { (continuation: CheckedContinuation<Result<Value, Failure>, Never>) in
        let thread = Thread {
            do throws(Failure) { continuation.resume(returning: .success(try body())) } catch {
                continuation.resume(returning: .failure(error))
            }
        }
        thread.name = name
        thread.start()
    }
    return try result.get()
}

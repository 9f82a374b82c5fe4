import Foundation
import Synchronization

/// State behind a lock, with waiting until it is as wanted. For the engine's own threads, never for event loops or tasks.
final class Monitor<State>: @unchecked Sendable {
    // Unchecked: `state` is only touched with `condition` locked.
    private let condition = NSCondition()
    private var state: State

    init(_ state: State) { self.state = state }

    /// Changes the state and wakes who waits.
    func update<R, E: Error>(_ body: (inout State) throws(E) -> R) throws(E) -> R {
        condition.lock()
        defer {
            condition.broadcast()
            condition.unlock()
        }
        return try body(&state)
    }

    /// The same for a change that one of those who wait can take up: only one is woken.
    func updateForOne<R>(_ body: (inout State) -> R) -> R {
        condition.lock()
        defer {
            condition.signal()
            condition.unlock()
        }
        return body(&state)
    }

    func read<R>(_ body: (State) -> R) -> R {
        condition.lock()
        defer { condition.unlock() }
        return body(state)
    }

    /// Waits until `body` returns a value. With a limit in seconds, `nil` when it has passed.
    func wait<R>(seconds: Double? = nil, until body: (inout State) -> R?) -> R? {
        condition.lock()
        defer { condition.unlock() }
        let limit = seconds.map { Date(timeIntervalSinceNow: $0) }
        while true {
            if let result = body(&state) { return result }
            if let limit {
                if !condition.wait(until: limit) { return body(&state) }
            } else {
                condition.wait()
            }
        }
    }
}

/// A thread that can be waited for.
final class Worker: Sendable {
    /// Evaluating a rule of the greatest nesting takes up to 512 KiB when optimised, and several times that in a debug or
    /// sanitised build, whose frames are large. Only what is touched is ever backed by memory.
    static let stackBytes = 8 << 20

    private let finished = Monitor(false)

    init(name: String, _ body: @escaping @Sendable () -> Void) {
        let thread = Thread { [finished] in
            body()
            finished.update { $0 = true }
        }
        thread.name = name
        thread.stackSize = Self.stackBytes
        thread.start()
    }

    func join() { _ = finished.wait { $0 ? true : nil } }

    /// Runs `body` for 0..<`iterations` on up to `threads` threads, and returns when all are done. Unlike Dispatch's
    /// threads, whose stacks are small, these may evaluate rules.
    static func perform(iterations: Int, threads: Int, _ body: @escaping @Sendable (Int) -> Void) {
        let next = Monitor(0)
        let workers = (0..<max(1, min(threads, iterations))).map { _ in
            Worker(name: "cohort-scan") {
                while true {
                    let i = next.update { (n: inout Int) -> Int in
                        defer { n += 1 }
                        return n
                    }
                    guard i < iterations else { return }
                    body(i)
                }
            }
        }
        for worker in workers { worker.join() }
    }
}

/// A few threads that run blocking store reads for tasks. A task that is cancelled while its read waits is told at once, and the read is
/// not made: under a load beyond what the store can do, reads for callers that have gone would take all of its time.
final class WorkerPool: Sendable {
    private struct State {
        var jobs = FIFO<@Sendable () -> Void>()
        var stopped = false
    }

    /// Who waits for a read; taken by the thread that makes it, or by the cancellation.
    private final class Waiter<R: Sendable>: Sendable {
        private let state = Mutex<(continuation: CheckedContinuation<R, Never>?, isCancelled: Bool)>((nil, false))

        /// False where it was cancelled before it could wait.
        func wait(_ continuation: CheckedContinuation<R, Never>) -> Bool {
            state.withLock { state in
                if !state.isCancelled { state.continuation = continuation }
                return !state.isCancelled
            }
        }

        func take() -> CheckedContinuation<R, Never>? {
            state.withLock { state in
                defer { state.continuation = nil }
                return state.continuation
            }
        }

        func cancel() -> CheckedContinuation<R, Never>? {
            state.withLock { state in
                defer { state = (nil, true) }
                return state.continuation
            }
        }
    }

    private let state = Monitor(State())
    private let workers: [Worker]
    private let capacity: Int

    init(threads: Int, capacity: Int) {
        self.capacity = capacity
        let state = state
        workers = (0..<threads).map { _ in
            Worker(name: "cohort-read") {
                // The inner optional is nil once the pool is stopped and empty.
                while let job = state.wait(until: { (s: inout State) -> (@Sendable () -> Void)?? in
                    if let job = s.jobs.popFirst() { return .some(job) }
                    return s.stopped ? .some(nil) : nil
                }) ?? nil { job() }
            }
        }
    }

    /// Runs `body` on one of the threads.
    ///
    /// - Throws: What `body` fails with; `.unavailable` where the pool stops or the task is cancelled before a thread came to it, and
    ///   `.resourceExhausted(store_reads)` where too many wait.
    func run<R: Sendable>(_ body: @escaping @Sendable () -> Result<R, DomainError>) async throws(DomainError) -> R {
        let waiter = Waiter<Result<R, DomainError>>()
        let result: Result<R, DomainError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                guard waiter.wait(continuation) else { return continuation.resume(returning: .failure(Self.cancelled)) }
                if let refusal = add({ waiter.take()?.resume(returning: body()) }) {
                    waiter.take()?.resume(returning: .failure(refusal))
                }
            }
        } onCancel: {
            waiter.cancel()?.resume(returning: .failure(Self.cancelled))
        }
        return try result.get()
    }

    private static let cancelled = DomainError.unavailable(
        reason: UnavailableReason.storeUnavailable,
        message: "The caller has gone.",
        retryAfter: nil
    )

    /// Why a job is not taken; nil where it is.
    private func add(_ job: @escaping @Sendable () -> Void) -> DomainError? {
        state.updateForOne { s in
            if s.stopped {
                return .unavailable(
                    reason: UnavailableReason.shuttingDown,
                    message: "The server is stopping.",
                    retryAfter: nil
                )
            }
            if s.jobs.count >= capacity {
                return .resourceExhausted(
                    limit: "store_reads",
                    message: "Too many reads wait for the store.",
                    retryAfter: .milliseconds(100)
                )
            }
            s.jobs.append(job)
            return nil
        }
    }

    func stop() {
        state.update { $0.stopped = true }
        for worker in workers { worker.join() }
    }
}

import Synchronization

/// Tasks that wait until reads see a sequence.
final class SequenceWaiters: Sendable {
    private struct Waiter {
        var sequence: UInt64
        var continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var current: UInt64 = 0
        var nextID: UInt64 = 0
        var waiting: [UInt64: Waiter] = [:]
        var closed = false
    }

    private let state = Mutex(State())

    /// The sequence that was last announced.
    var current: UInt64 { state.withLock { $0.current } }

    /// Announces that reads see everything up to `sequence`.
    func advance(to sequence: UInt64) {
        let ready: [Waiter] = state.withLock { state in
            state.current = sequence
            guard !state.waiting.isEmpty else { return [] }
            let ready = state.waiting.filter { $0.value.sequence <= sequence }
            for id in ready.keys { state.waiting[id] = nil }
            return Array(ready.values)
        }
        for waiter in ready { waiter.continuation.resume(returning: true) }
    }

    /// Lets everyone go who waits, and nobody wait any more.
    func close() {
        let left = state.withLock { state in
            state.closed = true
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        for waiter in left { waiter.continuation.resume(returning: false) }
    }

    /// - Returns: whether the sequence was reached before the deadline, without the task being cancelled.
    func wait(for sequence: UInt64, until deadline: ContinuousClock.Instant) async -> Bool {
        let id = state.withLock { state in
            defer { state.nextID += 1 }
            return state.nextID
        }
        let timer = Task {
            try? await Task.sleep(until: deadline, clock: .continuous)
            self.release(id)
        }
        defer { timer.cancel() }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let now: Bool? = state.withLock { state in
                    if state.current >= sequence { return true }
                    if state.closed || Task.isCancelled || ContinuousClock.now >= deadline { return false }
                    state.waiting[id] = Waiter(sequence: sequence, continuation: continuation)
                    return nil
                }
                if let now { continuation.resume(returning: now) }
            }
        } onCancel: {
            release(id)
        }
    }

    private func release(_ id: UInt64) {
        let waiter = state.withLock { $0.waiting.removeValue(forKey: id) }
        waiter?.continuation.resume(returning: false)
    }
}

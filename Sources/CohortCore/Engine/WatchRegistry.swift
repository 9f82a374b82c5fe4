import Synchronization

/// The watches that run.
final class WatchRegistry: Sendable {
    private struct State {
        /// How far each has come.
        var running: [UInt64: UInt64] = [:]
        var nextID: UInt64 = 0
        var snapshots = 0
        var closed = false
    }

    /// One of the watches, until the last reference is gone.
    final class Place: Sendable {
        private let registry: WatchRegistry
        private let id: UInt64

        fileprivate init(_ registry: WatchRegistry, _ id: UInt64) {
            self.registry = registry
            self.id = id
        }

        deinit { registry.state.withLock { _ = $0.running.removeValue(forKey: id) } }

        /// Everything up to here has been sent.
        func reached(_ sequence: UInt64) { registry.state.withLock { $0.running[id] = sequence } }
    }

    /// One of the snapshots in memory, until the last reference is gone.
    final class SnapshotPlace: Sendable {
        private let registry: WatchRegistry

        fileprivate init(_ registry: WatchRegistry) { self.registry = registry }

        deinit { registry.state.withLock { $0.snapshots -= 1 } }
    }

    private let state = Mutex(State())
    private let configuration: EngineConfiguration

    init(_ configuration: EngineConfiguration) { self.configuration = configuration }

    var isClosed: Bool { state.withLock { $0.closed } }

    /// Ends all watches, and begins none any more.
    func close() { state.withLock { $0.closed = true } }

    /// - Throws: `.resourceExhausted` while as many run as may.
    func begin() throws(DomainError) -> Place {
        let limit = configuration.maximumWatches
        let id: UInt64? = state.withLock { state in
            guard state.running.count < limit else { return nil }
            state.nextID += 1
            // Until it says how far it is, it is not behind.
            state.running[state.nextID] = .max
            return state.nextID
        }
        guard let id else {
            throw .resourceExhausted(
                limit: "watches",
                message: "\(limit) watches run already, the most at once.",
                retryAfter: .seconds(1)
            )
        }
        return Place(self, id)
    }

    /// - Throws: `.resourceExhausted` while as many snapshots are being sent as may.
    func beginSnapshot() throws(DomainError) -> SnapshotPlace {
        let limit = configuration.maximumWatchSnapshots
        let isFree = state.withLock { state in
            guard state.snapshots < limit else { return false }
            state.snapshots += 1
            return true
        }
        guard isFree else {
            throw .resourceExhausted(
                limit: "watch_snapshots",
                message: "\(limit) watches are being sent a snapshot already, the most at once.",
                retryAfter: .seconds(1)
            )
        }
        return SnapshotPlace(self)
    }

    /// - Parameter latest: the sequence that those which have everything have reached.
    func status(latest: UInt64) -> WatchStatus {
        state.withLock { state in
            let slowest = state.running.values.min() ?? latest
            return WatchStatus(running: state.running.count, slowestBehind: latest - min(slowest, latest))
        }
    }
}

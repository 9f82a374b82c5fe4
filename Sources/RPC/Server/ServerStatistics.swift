package import Synchronization

/// Counters of a server, for a metrics backend to read. Totals since start unless said otherwise.
public struct ServerStatisticsSnapshot: Sendable, Hashable {
    /// Connections accepted.
    public var connectionsAccepted = 0
    /// Connections open now.
    public var connectionsOpen = 0
    /// Connections that completed their handshake with `ttrpc-x1`.
    public var connectionsExtended = 0
    /// Connections closed, by reason (`idle timeout`, `peer does not read`, …).
    public var connectionsClosed: [String: Int] = [:]
    /// Calls begun.
    public var callsStarted = 0
    /// Calls that run in a task now.
    public var callsRunning = 0
    /// Calls refused because their connection had too many streams.
    public var callsRefusedTooManyStreams = 0
    /// Calls refused because the server drains.
    public var callsRefusedDraining = 0
    /// Calls refused because their metadata was too large.
    public var callsRefusedMetadata = 0
    /// Frames larger than the limit.
    public var framesOversize = 0
    /// Frames answered with INVALID_ARGUMENT.
    public var framesInvalid = 0
    /// Times a connection was not read because its calls held too many bytes, or its peer did not read.
    public var readPauses = 0
    /// Certificate reloads that succeeded.
    public var certificateReloads = 0
    /// Certificate reloads that failed; the certificate before stays in use.
    public var certificateReloadFailures = 0
}

/// The counters themselves; every connection writes to them.
package final class ServerStatistics: Sendable {
    package let accepted = Atomic<Int>(0)
    package let open = Atomic<Int>(0)
    package let extended = Atomic<Int>(0)
    package let callsStarted = Atomic<Int>(0)
    package let callsRunning = Atomic<Int>(0)
    package let tooManyStreams = Atomic<Int>(0)
    package let draining = Atomic<Int>(0)
    package let metadata = Atomic<Int>(0)
    package let oversize = Atomic<Int>(0)
    package let invalid = Atomic<Int>(0)
    package let readPauses = Atomic<Int>(0)
    package let reloads = Atomic<Int>(0)
    package let reloadFailures = Atomic<Int>(0)
    private let closed = Mutex<[CloseReason: Int]>([:])

    package init() {}

    package func connectionClosed(_ reason: CloseReason) {
        closed.withLock { $0[reason, default: 0] += 1 }
    }

    package func snapshot() -> ServerStatisticsSnapshot {
        var snapshot = ServerStatisticsSnapshot()
        snapshot.connectionsAccepted = accepted.load(ordering: .relaxed)
        snapshot.connectionsOpen = open.load(ordering: .relaxed)
        snapshot.connectionsExtended = extended.load(ordering: .relaxed)
        snapshot.callsStarted = callsStarted.load(ordering: .relaxed)
        snapshot.callsRunning = callsRunning.load(ordering: .relaxed)
        snapshot.callsRefusedTooManyStreams = tooManyStreams.load(ordering: .relaxed)
        snapshot.callsRefusedDraining = draining.load(ordering: .relaxed)
        snapshot.callsRefusedMetadata = metadata.load(ordering: .relaxed)
        snapshot.framesOversize = oversize.load(ordering: .relaxed)
        snapshot.framesInvalid = invalid.load(ordering: .relaxed)
        snapshot.readPauses = readPauses.load(ordering: .relaxed)
        snapshot.certificateReloads = reloads.load(ordering: .relaxed)
        snapshot.certificateReloadFailures = reloadFailures.load(ordering: .relaxed)
        for (reason, count) in closed.withLock({ $0 }) { snapshot.connectionsClosed[reason.rawValue] = count }
        return snapshot
    }
}

extension Atomic where Value == Int {
    @inline(__always)
    package func increment(by amount: Int = 1) { wrappingAdd(amount, ordering: .relaxed) }
}

package import Metrics
import Synchronization

/// A limit of a server (``ServerLimits``), as its counter names it.
public enum LimitReached: String, Sendable, Hashable, CaseIterable {
    /// A frame was larger than `maxFrameBytes`.
    case frameBytes = "frame_bytes"
    /// A call's metadata was larger than `maxMetadataBytes`.
    case metadataBytes = "metadata_bytes"
    /// A connection had `maxStreamsPerConnection` calls running.
    case streams
    /// There were `maxConnections`.
    case connections
    /// A handshake took longer than `handshakeTimeout`.
    case handshakeTime = "handshake_time"
    /// A frame took longer than `partialFrameTimeout`.
    case frameTime = "frame_time"
    /// A connection was idle for `idleTimeout`.
    case idleTime = "idle_time"
    /// A peer read nothing for `unwritableTimeout`.
    case unwritableTime = "unwritable_time"
    /// A connection was not read because its calls held `maxRequestBytesInFlight`, or its peer did not read.
    case requestBytes = "request_bytes"
    /// A stream's handler waited because `maxResponseBytesPending` waited to be sent, or its window was used up.
    case responseBytes = "response_bytes"
    /// A peer sent more on a stream than `streamWindowBytes` allowed.
    case streamWindow = "stream_window"
}

/// Counters of a server at one moment. Totals since start unless said otherwise.
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
    /// Calls refused because the server drains.
    public var callsRefusedDraining = 0
    /// Frames answered with INVALID_ARGUMENT.
    public var framesInvalid = 0
    /// Certificate reloads that succeeded.
    public var certificateReloads = 0
    /// Certificate reloads that failed; the certificate before stays in use.
    public var certificateReloadFailures = 0
    /// How often each limit held a peer back or turned it away.
    public var limitsReached: [LimitReached: Int] = [:]
}

/// The counters themselves, which every connection writes to, and their likes in the metrics system.
///
/// Names and units are those of OpenTelemetry's conventions, below `rpc.server`: `connections.accepted`, `connections.open`,
/// `connections.limit`, `connections.extended`, `connections.closed{reason}`, `calls.started`, `calls.running`,
/// `calls.refused_draining`, `frames.invalid`, `certificate.reloads{outcome}`, `certificate.not_after{certificate}`,
/// `limit.reached{limit}`.
package final class ServerStatistics: Sendable {
    /// A total, kept here and told to the metrics system.
    package final class Total: Sendable {
        private let value = Atomic<Int>(0)
        private let counter: Counter

        init(_ name: String, _ dimensions: [(String, String)] = [], _ factory: any MetricsFactory) {
            counter = Counter(label: "rpc.server." + name, dimensions: dimensions, factory: factory)
        }

        package func increment(by amount: Int = 1) {
            value.wrappingAdd(amount, ordering: .relaxed)
            counter.increment(by: amount)
        }

        var current: Int { value.load(ordering: .relaxed) }
    }

    /// A number of things that there are now.
    package final class Level: Sendable {
        private let value = Atomic<Int>(0)
        private let meter: Meter

        fileprivate init(_ name: String, _ factory: any MetricsFactory) {
            meter = Meter(label: "rpc.server." + name, dimensions: [], factory: factory)
        }

        /// Returns how many there are then.
        @discardableResult
        package func add(_ amount: Int) -> Int {
            let now = value.wrappingAdd(amount, ordering: .relaxed).newValue
            if amount >= 0 { meter.increment(by: Double(amount)) } else { meter.decrement(by: Double(-amount)) }
            return now
        }

        fileprivate var current: Int { value.load(ordering: .relaxed) }
    }

    package let accepted: Total
    package let open: Level
    package let extended: Total
    package let callsStarted: Total
    package let callsRunning: Level
    package let draining: Total
    package let invalid: Total
    package let reloads: Total
    package let reloadFailures: Total
    private let closed: [CloseReason: Total]
    private let limits: [LimitReached: Total]
    private let factory: any MetricsFactory

    /// - Parameter factory: Where the metrics go; what the process has set up where it is nil.
    package init(_ factory: (any MetricsFactory)? = nil) {
        let factory = factory ?? MetricsSystem.factory
        self.factory = factory
        accepted = Total("connections.accepted", [], factory)
        open = Level("connections.open", factory)
        extended = Total("connections.extended", [], factory)
        callsStarted = Total("calls.started", [], factory)
        callsRunning = Level("calls.running", factory)
        draining = Total("calls.refused_draining", [], factory)
        invalid = Total("frames.invalid", [], factory)
        reloads = Total("certificate.reloads", [("outcome", "ok")], factory)
        reloadFailures = Total("certificate.reloads", [("outcome", "failed")], factory)
        closed = Dictionary(
            uniqueKeysWithValues: CloseReason.allCases.map {
                ($0, Total("connections.closed", [("reason", $0.rawValue)], factory))
            }
        )
        limits = Dictionary(
            uniqueKeysWithValues: LimitReached.allCases.map {
                ($0, Total("limit.reached", [("limit", $0.rawValue)], factory))
            }
        )
    }

    package func connectionClosed(_ reason: CloseReason) {
        closed[reason]?.increment()
        switch reason {
        case .handshakeTimeout: limitReached(.handshakeTime)
        case .partialFrameTimeout: limitReached(.frameTime)
        case .idleTimeout: limitReached(.idleTime)
        case .unwritableTimeout: limitReached(.unwritableTime)
        case .tooManyConnections: limitReached(.connections)
        default: break
        }
    }

    func connectionsLimit(_ limit: Int) { gauge("connections.limit").record(limit) }

    /// By owner, in seconds since 1970.
    func certificates(expire notAfter: [CertificateOwner: Int]) {
        for (owner, seconds) in notAfter {
            gauge("certificate.not_after", [("certificate", owner.rawValue)]).record(seconds)
        }
    }

    private func gauge(_ name: String, _ dimensions: [(String, String)] = []) -> Gauge {
        Gauge(label: "rpc.server." + name, dimensions: dimensions, factory: factory)
    }

    package func limitReached(_ limit: LimitReached) { limits[limit]?.increment() }

    package func snapshot() -> ServerStatisticsSnapshot {
        var snapshot = ServerStatisticsSnapshot()
        snapshot.connectionsAccepted = accepted.current
        snapshot.connectionsOpen = open.current
        snapshot.connectionsExtended = extended.current
        snapshot.callsStarted = callsStarted.current
        snapshot.callsRunning = callsRunning.current
        snapshot.callsRefusedDraining = draining.current
        snapshot.framesInvalid = invalid.current
        snapshot.certificateReloads = reloads.current
        snapshot.certificateReloadFailures = reloadFailures.current
        for (reason, total) in closed where total.current > 0 {
            snapshot.connectionsClosed[reason.rawValue] = total.current
        }
        for (limit, total) in limits where total.current > 0 { snapshot.limitsReached[limit] = total.current }
        return snapshot
    }
}

package import CohortAPI
package import CohortCore
package import RPC
import SwiftProtobuf
package import Telemetry

/// `cohort.v1.OperationsService` over an engine.
package struct OperationsService: OperationsServiceHandler {
    let telemetry: TelemetrySystem
    private let engine: Engine
    private let startedAt: CohortCore.Timestamp
    private let now: @Sendable () -> CohortCore.Timestamp
    private let residentBytes: @Sendable () -> UInt64
    private let connections: @Sendable () -> (open: Int, limit: Int)?
    private let telemetryLosses: @Sendable () -> (accessLines: UInt64, logLines: UInt64)
    private let overload: OverloadControl?

    /// - Parameters:
    ///   - startedAt: When the process started.
    ///   - now: The wall clock.
    ///   - residentBytes: The resident memory of the process.
    ///   - connections: The connections that are open and the most that may be; `nil` where there are none.
    ///   - telemetry: What is scraped, streamed and turned.
    ///   - telemetryLosses: Access lines that were suppressed, and lines of the log that were lost.
    ///   - overload: The limits against overload; `nil` where there are none.
    package init(
        engine: Engine,
        startedAt: CohortCore.Timestamp,
        now: @escaping @Sendable () -> CohortCore.Timestamp = { SystemClock.now() },
        residentBytes: @escaping @Sendable () -> UInt64,
        connections: @escaping @Sendable () -> (open: Int, limit: Int)? = { nil },
        telemetry: TelemetrySystem,
        telemetryLosses: @escaping @Sendable () -> (accessLines: UInt64, logLines: UInt64) = { (0, 0) },
        overload: OverloadControl? = nil
    ) {
        self.engine = engine
        self.startedAt = startedAt
        self.now = now
        self.residentBytes = residentBytes
        self.connections = connections
        self.telemetry = telemetry
        self.telemetryLosses = telemetryLosses
        self.overload = overload
    }

    package func getStatus(
        _ request: GetStatusRequest,
        _ call: ServerCall
    ) throws(RPCError) -> InlineResult<GetStatusResponse> {
        let status = engine.status
        let catalog = engine.catalog
        return .reply(
            .with {
                $0.version = CohortRelease.version
                $0.state = ServerState(status.state)
                $0.stateDetail = status.problem
                $0.startedAt = Google_Protobuf_Timestamp(startedAt)
                $0.uptime = .init(seconds: max(0, now().seconds - startedAt.seconds), nanos: 0)
                $0.storeID = status.storeID
                $0.sequence = status.sequence
                $0.appliedSequence = status.appliedSequence
                $0.customers = status.customers
                $0.attributes = UInt32(catalog.attributes.count)
                $0.cohorts = catalog.cohorts.filter { $0.state != .archived }.sorted { $0.id < $1.id }.map { view in
                    .with {
                        $0.cohortID = view.id
                        $0.state = CohortAPI.CohortState(view.state)
                        $0.version = view.version
                        $0.members = view.members
                        $0.unknown = view.unknown
                    }
                }
                $0.queueDepth = UInt64(status.queueDepth)
                $0.queueLimit = UInt64(status.queueCapacity)
                $0.residentBytes = residentBytes()
                $0.indexBytes = UInt64(status.indexBytes)
                $0.storeBytes = status.storeBytes
                $0.log = CohortAPI.LogStatus(status.upkeep.log)
                $0.drift = CohortAPI.DriftStatus(status.upkeep.drift)
                $0.scrub = CohortAPI.ScrubStatus(status.upkeep.scrub)
                $0.builds = status.builds.map { CohortAPI.BuildStatus($0) }
                $0.watches = CohortAPI.WatchStatus(status.watches)
                $0.approvals = CohortAPI.ApprovalStatus(status.approvals)
                $0.audit = CohortAPI.AuditStatus(status.audit)
                $0.telemetry = telemetryStatus
                $0.breakers = status.breakers.map { BreakerStatus($0) }
                if let overload, overload.mode != .off {
                    $0.overload = OverloadStatus(overload.counters, isDryRun: overload.mode == .dryRun)
                }
            }
        )
    }

    private var telemetryStatus: CohortAPI.TelemetryStatus {
        let series = telemetry.metrics.size
        let spans = telemetry.tracer.buffer.size
        let losses = telemetryLosses()
        return .with {
            $0.series = UInt64(series.series)
            $0.seriesOverflowed = series.overflowed
            $0.spansWaiting = UInt64(spans.waiting)
            $0.spansDropped = spans.dropped
            $0.accessLinesSuppressed = losses.accessLines
            $0.logLinesLost = losses.logLines
        }
    }

    package func getCapacity(
        _ request: GetCapacityRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> GetCapacityResponse {
        let capacity = engine.capacity
        return .with {
            $0.cohorts = capacity.cohorts.sorted { $0.id < $1.id }.map { CohortAPI.CohortCapacity($0) }
            $0.limits = capacity.limits.map { CohortAPI.LimitUse($0) }
            if let connections = connections() {
                $0.limits.append(
                    CohortAPI.LimitUse(
                        CohortCore.LimitUse("limits.connections", connections.open, of: connections.limit)
                    )
                )
            }
            $0.logBytes = capacity.sizes.logBytes
            $0.logUsedBytes = capacity.sizes.logUsedBytes
            $0.tablesBytes = capacity.sizes.tablesBytes
            $0.diskFreeBytes = capacity.sizes.diskFreeBytes
            $0.indexBytes = UInt64(capacity.indexBytes)
            $0.identifierBytes = UInt64(capacity.identifierBytes)
            $0.pendingBytes = UInt64(capacity.pendingBytes)
            $0.residentBytes = residentBytes()
        }
    }
}

extension ServerState {
    init(_ state: EngineState) {
        self =
            switch state {
            case .loading: .starting
            case .serving: .serving
            case .stopping, .stopped: .draining
            case .storeUnavailable, .failed: .degraded
            }
    }
}

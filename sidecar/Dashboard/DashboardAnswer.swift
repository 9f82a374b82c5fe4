import CohortAPI
import SwiftProtobuf

/// What `/dashboard/data` answers.
struct DashboardAnswer: Encodable {
    /// Tells this run of the sidecar from others, whose samples have other numbers.
    var instance: String
    /// What to ask for next as `since`.
    var next: Int
    /// Seconds between two samples.
    var interval: Double
    /// Seconds that are kept.
    var history: Double
    /// Milliseconds since 1970 by the sidecar's clock.
    var time: Int64
    /// The sidecar's release.
    var sidecar: String
    /// Where it looks for the server.
    var endpoint: String
    /// Whether the server has answered the last question.
    var up: Bool
    /// Seconds since its last answer, or since the sidecar's start.
    var silent: Double
    /// Why it has not answered.
    var problem: String?
    /// Upper bounds of the buckets, in seconds.
    var bounds: [Double]
    var samples: [DashboardHistory.Sample]
    /// As the server last said. Nil where it never did.
    var server: DashboardServer?
}

/// A server's status in the page's words.
struct DashboardServer: Encodable {
    struct Breaker: Encodable {
        var name, state: String
        var failed, slow: UInt32
        var rejected, opened: UInt64
        var retry: Double?
    }

    struct Queue: Encodable {
        var `class`: String
        var limit, running, waiting, capacity: UInt32
    }

    struct Overload: Encodable {
        var dryRun: Bool
        var level: Double
        var rejected: [String: UInt64]
        var queues: [Queue]
    }

    struct Cohort: Encodable {
        var id, state: String
        var version: UInt32
        var members, unknown: UInt64
    }

    struct Build: Encodable {
        var cohort: String
        var version: UInt32
        var preview: Bool
        var phase: String
        var done, total: UInt64
        var remaining: Double?
    }

    /// The most cohorts that are shown: the largest.
    static let cohortLimit = 200
    /// The most builds that are shown: the first, which run or are next.
    static let buildLimit = 20

    var state, detail, version, storeID: String
    var uptime: Double
    var customers, sequence, applied, queueRows, queueLimit, storeBytes, logBytes: UInt64
    var attributes, approvals, watches: UInt32
    var driftChecked, driftDifferences: UInt64
    var breakers: [Breaker]
    var overload: Overload?
    var cohorts: [Cohort]
    var cohortsLeftOff: Int
    var builds: [Build]

    init(_ status: GetStatusResponse) {
        state = status.state.word
        detail = status.stateDetail
        version = status.version
        storeID = status.storeID
        uptime = status.uptime.inSeconds
        customers = status.customers
        sequence = status.sequence
        applied = status.appliedSequence
        queueRows = status.queueDepth
        queueLimit = status.queueLimit
        storeBytes = status.storeBytes
        logBytes = status.log.bytes
        attributes = status.attributes
        approvals = status.approvals.pending
        watches = status.watches.running
        driftChecked = status.drift.customersChecked
        driftDifferences = status.drift.differences
        breakers = status.breakers.map { breaker in
            Breaker(
                name: breaker.name,
                state: breaker.state.word,
                failed: breaker.failureRatePercent,
                slow: breaker.slowCallRatePercent,
                rejected: breaker.rejected,
                opened: breaker.opened,
                retry: breaker.hasRetryAfter ? breaker.retryAfter.inSeconds : nil
            )
        }
        overload = status.hasOverload ? Overload(status.overload) : nil
        let largest = status.cohorts.sorted { $0.members + $0.unknown > $1.members + $1.unknown }
        cohorts = largest.prefix(Self.cohortLimit).sorted { $0.cohortID < $1.cohortID }.map { cohort in
            Cohort(
                id: cohort.cohortID,
                state: cohort.state == .active ? "active" : cohort.state == .building ? "building" : "archived",
                version: cohort.version,
                members: cohort.members,
                unknown: cohort.unknown
            )
        }
        cohortsLeftOff = status.cohorts.count - cohorts.count
        builds = status.builds.prefix(Self.buildLimit).map { build in
            Build(
                cohort: build.cohortID,
                version: build.version,
                preview: build.preview,
                phase: build.phase.word,
                done: build.customersDone,
                total: build.customersTotal,
                remaining: build.hasRemaining ? build.remaining.inSeconds : nil
            )
        }
    }
}

extension DashboardServer.Overload {
    init(_ status: OverloadStatus) {
        dryRun = status.dryRun
        level = status.sheddingLevel.isFinite ? status.sheddingLevel : 0
        rejected = status.rejected
        queues = status.queues.map {
            DashboardServer.Queue(
                class: $0.methodClass,
                limit: $0.limit,
                running: $0.inFlight,
                waiting: $0.waiting,
                capacity: $0.capacity
            )
        }
    }
}

extension ServerState {
    fileprivate var word: String {
        switch self {
        case .starting: "starting"
        case .serving: "serving"
        case .draining: "draining"
        case .degraded: "degraded"
        default: "unknown"
        }
    }
}

extension BreakerState {
    fileprivate var word: String {
        switch self {
        case .open: "open"
        case .halfOpen: "half open"
        default: "closed"
        }
    }
}

extension BuildPhase {
    fileprivate var word: String {
        switch self {
        case .waiting: "waiting"
        case .scanning: "scanning"
        case .catchingUp: "catchingUp"
        case .switching: "switching"
        default: "building"
        }
    }
}

extension Google_Protobuf_Duration {
    fileprivate var inSeconds: Double { Double(seconds) + Double(nanos) / 1e9 }
}

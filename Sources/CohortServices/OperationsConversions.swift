import CohortAPI
import CohortCore
import SwiftProtobuf

extension CohortAPI.LogStatus {
    init(_ status: CohortCore.LogStatus) {
        self.init()
        firstSequence = status.firstSequence
        if let time = status.firstTime { firstTime = Google_Protobuf_Timestamp(time) }
        bytes = status.bytes
        entriesDeleted = status.entriesDeleted
    }
}

extension CohortAPI.DriftStatus {
    init(_ status: CohortCore.DriftStatus) {
        self.init()
        if let walk = status.completed { completed = DriftWalk(walk) }
        if let walk = status.current { current = DriftWalk(walk) }
        customersChecked = status.customersChecked
        differences = status.differences
    }
}

extension CohortAPI.DriftWalk {
    init(_ walk: DriftWalkStatus) {
        self.init()
        startedAt = Google_Protobuf_Timestamp(walk.startedAt)
        if let time = walk.completedAt { completedAt = Google_Protobuf_Timestamp(time) }
        customers = walk.customers
        differences = walk.differences
        samples = walk.samples.map { difference in
            .with {
                $0.customerID = difference.customer
                $0.cohortID = difference.cohort
                $0.expected = Membership(difference.expected)
                $0.indexed = Membership(difference.indexed)
                if let recorded = difference.recorded { $0.recorded = Membership(recorded) }
            }
        }
    }
}

extension CohortAPI.ScrubStatus {
    init(_ status: CohortCore.ScrubStatus) {
        self.init()
        pending = UInt64(status.pending)
        if let time = status.oldest { oldestAt = Google_Protobuf_Timestamp(time) }
        if let time = status.completedAt { completedAt = Google_Protobuf_Timestamp(time) }
        entriesRewritten = status.entriesRewritten
    }
}

extension CohortAPI.WatchStatus {
    init(_ status: CohortCore.WatchStatus) {
        self.init()
        running = UInt32(status.running)
        slowestBehind = status.slowestBehind
    }
}

extension CohortAPI.ApprovalStatus {
    init(_ status: CohortCore.ApprovalStatus) {
        self.init()
        pending = UInt32(clamping: status.pending)
        if let time = status.oldest { oldestAt = Google_Protobuf_Timestamp(time) }
        erasuresRunning = UInt32(clamping: status.erasuresRunning)
    }
}

extension CohortAPI.CohortCapacity {
    init(_ capacity: CohortCore.CohortCapacity) {
        self.init()
        cohortID = capacity.id
        members = capacity.members
        unknown = capacity.unknown
        membersBytes = UInt64(capacity.membersBytes)
        unknownBytes = UInt64(capacity.unknownBytes)
        includeBytes = UInt64(capacity.includeBytes)
        excludeBytes = UInt64(capacity.excludeBytes)
        listBytes = UInt64(capacity.listBytes)
        stagedBytes = UInt64(capacity.stagedBytes)
        if let rule = capacity.rule {
            self.rule = .with {
                $0.version = rule.version
                $0.nodes = UInt32(clamping: rule.nodes)
                $0.instructions = UInt32(clamping: rule.instructions)
                $0.costBound = rule.costBound
                $0.meanCost = rule.meanCost
                $0.samples = rule.samples
            }
        }
    }
}

extension CohortAPI.LimitUse {
    init(_ use: CohortCore.LimitUse) {
        self.init()
        name = use.name
        used = use.used
        limit = use.limit
        fraction = use.fraction
    }
}

extension CohortAPI.BuildStatus {
    init(_ view: BuildView) {
        self.init()
        cohortID = view.cohort
        version = view.version
        preview = view.isPreview
        phase =
            switch view.phase {
            case .waiting: .waiting
            case .scanning: .scanning
            case .catchingUp: .catchingUp
            case .switching: .switching
            }
        customersDone = view.done
        customersTotal = view.total
        if let time = view.startedAt { startedAt = Google_Protobuf_Timestamp(time) }
        if let left = view.remaining {
            let (seconds, attoseconds) = left.components
            remaining = .init(seconds: seconds, nanos: Int32(attoseconds / 1_000_000_000))
        }
    }
}

import CEL
import Synchronization

extension Engine {
    /// What is held now, each figure read by itself. Reads the sizes of files: not for event loops.
    package var capacity: EngineCapacity {
        let published = shared.published.withLock { $0 }
        let catalog = published.catalog
        var staged: [CohortNumber: Int] = [:]
        for bulk in published.bulks { staged[bulk.change.cohort, default: 0] += bulk.change.bytes }
        let cohorts = catalog.cohorts.filter { $0.state != .archived }.map { cohort in
            let parts = shared.index.parts(of: cohort.number)
            return CohortCapacity(
                id: cohort.id,
                members: parts.members.count,
                unknown: parts.unknown.count,
                membersBytes: parts.members.bytes,
                unknownBytes: parts.unknown.bytes,
                includeBytes: parts.include.bytes,
                excludeBytes: parts.exclude.bytes,
                listBytes: parts.listed.bytes,
                stagedBytes: staged[cohort.number] ?? 0,
                rule: published.rules.rule(of: cohort.number).map(RuleCapacity.init)
            )
        }
        let sizes = shared.state == .stopped ? StoreSizes() : shared.store.upkeep.sizes
        let pendingBytes = shared.pending.bytes
        let nextOrdinal = shared.figures.withLock { $0.nextOrdinal }
        let stagedBytes = staged.values.reduce(0, +)
        var limits = [
            LimitUse("limits.cohorts", catalog.cohorts.count, of: configuration.maximumCohorts),
            LimitUse("limits.attributes", catalog.attributes.count, of: configuration.maximumAttributes),
            LimitUse("customers", nextOrdinal, of: configuration.maximumCustomers),
            LimitUse("limits.queue.rows", shared.queue.depth, of: shared.queue.capacity),
            LimitUse("limits.pending.bytes", pendingBytes, of: configuration.maximumPendingBytes),
            LimitUse("limits.builds", shared.builds.views.count, of: configuration.maximumBuilds),
            LimitUse("limits.approvals.pending", shared.approvals.pending, of: configuration.maximumPendingChanges),
            LimitUse(
                "limits.erasures",
                shared.memberErasures.running,
                of: configuration.maximumMemberErasures
            ),
            LimitUse("limits.audit.rows", shared.audit.buffered, of: configuration.maximumAuditRows),
            LimitUse("limits.watches", shared.watches.status(latest: 0).running, of: configuration.maximumWatches),
            LimitUse("bulk changes", published.bulks.count, of: configuration.maximumBulkChanges),
            LimitUse("bulk change bytes", stagedBytes, of: configuration.maximumBulkBytes),
        ]
        if let bytes = configuration.logRetentionBytes {
            limits.append(LimitUse("log.retention.bytes", sizes.logUsedBytes, of: bytes))
        }
        if sizes.diskBytes > 0 {
            limits.append(
                LimitUse("disk", sizes.diskBytes - min(sizes.diskFreeBytes, sizes.diskBytes), of: sizes.diskBytes)
            )
        }
        return EngineCapacity(
            cohorts: cohorts,
            indexBytes: shared.index.size.bytes,
            identifierBytes: shared.index.identifierBytes,
            pendingBytes: pendingBytes,
            sizes: sizes,
            limits: limits
        )
    }
}

extension RuleCapacity {
    fileprivate init(_ rule: CompiledRule) {
        let mean = rule.costs.mean
        self.init(
            version: rule.version,
            nodes: rule.program.nodeCount,
            instructions: rule.program.instructionCount,
            costBound: rule.program.worstCaseCost,
            meanCost: mean.units,
            samples: mean.samples
        )
    }
}

extension MembershipIndex {
    typealias PartSize = (count: UInt64, bytes: Int)

    /// Members and bytes of a cohort's bitmaps; zeros for one that the index does not know yet.
    func parts(
        of cohort: CohortNumber
    ) -> (members: PartSize, unknown: PartSize, include: PartSize, exclude: PartSize, listed: PartSize) {
        lock.withReadLock {
            guard Int(cohort) < bitmaps.count else { return ((0, 0), (0, 0), (0, 0), (0, 0), (0, 0)) }
            let parts = bitmaps[Int(cohort)]
            func size(_ bitmap: ChunkedBitmap) -> PartSize { (bitmap.count, bitmap.bytes) }
            return (
                size(parts.members), size(parts.unknown), size(parts.include), size(parts.exclude), size(parts.listed)
            )
        }
    }

    /// Bytes of the customers' ids and the tables to find them.
    var identifierBytes: Int { lock.withReadLock { customers.bytes } }
}

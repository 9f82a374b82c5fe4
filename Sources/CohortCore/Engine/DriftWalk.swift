/// Derives every membership anew, again and again, a few customers at a time.
struct DriftWalk {
    /// Differences kept for the status, without any value of an attribute.
    static let samples = 10
    /// Seconds of work that are made up for when the walk could not go on.
    private static let longestCatchUp = 10.0

    /// Where the walk goes on; `nil` between two walks.
    private var next: Ordinal?
    private var report = AuditReport()
    private var startedAt: Timestamp?
    private var lastStep: Timestamp?
    /// Customers that may be checked by now.
    private var credit = 0.0

    /// - Returns: whether more is due at once.
    mutating func step(_ shared: EngineShared, _ now: Timestamp) throws(StoreError) -> Bool {
        guard let period = shared.configuration.driftPeriod else { return false }
        let customers = Double(shared.index.size.customers)
        let isDue = startedAt.map { now >= $0.advanced(bySeconds: period) } ?? (customers > 0)
        guard next != nil || isDue else {
            lastStep = now
            return false
        }
        if next == nil {
            next = 0
            startedAt = now
        }
        let rate = max(Double(shared.configuration.driftRate), customers / Double(max(period, 1)))
        let elapsed = lastStep.map { min(max(0, now.seconds(since: $0)), Self.longestCatchUp) } ?? 1
        lastStep = now
        credit = min(credit + rate * elapsed, rate * Self.longestCatchUp)
        guard credit >= 1 else { return false }
        let first = next ?? 0
        let limit = Int(min(credit, 65_536))
        let budget = shared.configuration.driftStep
        let result = try? shared.betweenCommits { committer in
            Result { () throws(StoreError) in try committer.audit(from: first, limit: limit, atMost: budget) }
        }
        // Where the queue is full, writes come first.
        guard let audited = try result?.get() else { return false }
        report.add(audited.report)
        credit = max(0, credit - Double(audited.report.customers))
        shared.updateUpkeep {
            $0.drift.customersChecked += audited.report.customers
            $0.drift.differences += audited.report.differences
        }
        if let next = audited.next {
            self.next = next
            publish(shared, completedAt: nil)
            return credit >= 1
        }
        finish(shared, now)
        return false
    }

    private mutating func finish(_ shared: EngineShared, _ now: Timestamp) {
        publish(shared, completedAt: now)
        if report.differences > 0 {
            let first = report.samples.first
            shared.log(
                .error,
                "memberships differ from what attributes, overrides and lists say",
                [
                    ("differences", "\(report.differences)"), ("customers", "\(report.customers)"),
                    ("cohort", first?.cohort ?? ""), ("expected", first.map { "\($0.expected)" } ?? ""),
                    ("indexed", first.map { "\($0.indexed)" } ?? ""),
                ]
            )
        }
        report = AuditReport()
        next = nil
    }

    private func publish(_ shared: EngineShared, completedAt: Timestamp?) {
        let status = DriftWalkStatus(
            startedAt: startedAt ?? .epoch,
            completedAt: completedAt,
            customers: report.customers,
            differences: report.differences,
            samples: Array(report.samples.prefix(Self.samples))
        )
        shared.updateUpkeep {
            $0.drift.current = completedAt == nil ? status : nil
            if completedAt != nil { $0.drift.completed = status }
        }
    }
}

extension Timestamp {
    /// Seconds from `earlier` to this, with a fraction.
    func seconds(since earlier: Timestamp) -> Double {
        Double(seconds - earlier.seconds) + Double(nanoseconds - earlier.nanoseconds) / 1_000_000_000
    }
}

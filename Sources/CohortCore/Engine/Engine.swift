import Synchronization

/// The cohort engine: takes writes into the change log, keeps every membership up to date, and answers from memory.
///
/// Reads that return an `Attempt` are synchronous, take well under a microsecond to a few, and never block on the
/// store: they are fit for event loops. Everything else is `async` or, where noted, blocking.
package final class Engine: Sendable {
    private struct Threads {
        var committer: Worker?
        var materializer: Worker?
        var readers: WorkerPool?
        var builds: Worker?
        var scanners: WorkerPool?
        var erasers: WorkerPool?
        var upkeep: Worker?
        var audit: Worker?
        /// Reads and verifies the audit.
        var auditors: WorkerPool?
        var started = false
        var stopping = false
    }

    let shared: EngineShared
    private let committer: Committer
    private let upkeepPasses: Upkeep
    private let threads = Mutex(Threads())

    package var configuration: EngineConfiguration { shared.configuration }

    /// - Parameters:
    ///   - store: owned by the engine from `start` to `shutdown`.
    ///   - environment: clock and log.
    package init(
        store: any Store,
        configuration: EngineConfiguration = .init(),
        environment: EngineEnvironment = .init()
    ) {
        shared = EngineShared(store: store, configuration: configuration, environment: environment)
        committer = Committer(shared: shared)
        upkeepPasses = Upkeep(shared: shared)
    }

    // MARK: Life

    /// Opens the store, loads the index and replays the log's tail. Blocks: call it once, from a thread of its own. Until
    /// it returns, reads and writes throw `.unavailable(INDEX_LOADING)`.
    ///
    /// - Throws: `DomainError.dataLoss` or `.failedPrecondition` with directions, where starting could lose something.
    package func start() throws(DomainError) {
        let isFirst = threads.withLock { threads in
            defer { threads.started = true }
            return !threads.started
        }
        guard isFirst else {
            throw .failedPrecondition(code: "ALREADY_STARTED", message: "An engine is started once.")
        }
        do throws(StoreError) {
            try committer.recover()
            // From here on the tables follow, or replaying a long tail would fill the memory.
            let materializer = Materializer(shared: shared)
            threads.withLock { $0.materializer = Worker(name: "cohort-tables") { materializer.run() } }
            try committer.replay(to: try shared.store.recoverLog())
        } catch {
            throw abandonStart(error)
        }
        do throws(DomainError) {
            try committer.bootstrap()
        } catch {
            abandonStart()
            throw error
        }
        committer.publishCatalog()
        shared.waiters.advance(to: committer.sequence)
        shared.watchWaiters.advance(to: committer.sequence)
        let committer = committer
        threads.withLock {
            $0.auditors = WorkerPool(threads: 1, capacity: 64)
            $0.readers = WorkerPool(threads: shared.configuration.readThreads, capacity: 4_096)
            let scans = shared.configuration.maximumHistoryScans
            $0.scanners = WorkerPool(threads: scans, capacity: scans)
            let erasures = shared.configuration.maximumMemberErasures
            $0.erasers = WorkerPool(threads: erasures, capacity: erasures)
            $0.committer = Worker(name: "cohort-commit") { committer.run() }
            let builds = shared.builds
            $0.builds = Worker(name: "cohort-builds") { builds.run() }
        }
        startAudit()
        shared.resumeBuilds()
        if shared.configuration.upkeepInterval > 0 {
            let upkeep = upkeepPasses
            threads.withLock { $0.upkeep = Worker(name: "cohort-upkeep") { upkeep.run() } }
        }
        shared.move(from: .loading, to: .serving)
        shared.log(
            .info,
            "engine ready",
            [("sequence", "\(committer.sequence)"), ("customers", "\(shared.index.size.customers)")]
        )
    }

    private func abandonStart(_ error: StoreError) -> DomainError {
        shared.setProblem(.start, error.message)
        shared.log(.error, "start refused", [("error", error.message)])
        abandonStart()
        return switch error {
        case .refused(let message): .failedPrecondition(code: "START_REFUSED", message: message)
        case .corrupt(let message): .dataLoss(message: message)
        case .failed(let message):
            .unavailable(reason: UnavailableReason.storeUnavailable, message: message, retryAfter: nil)
        case .circuitOpen(let retryAfter):
            .unavailable(reason: UnavailableReason.circuitOpen, message: error.message, retryAfter: retryAfter)
        }
    }

    private func abandonStart() {
        shared.state = .failed
        shared.pending.stop()
        threads.withLock { $0.materializer }?.join()
        shared.builds.close()
        shared.queue.close()
        shared.waiters.close()
        shared.store.close()
    }

    /// Refuses new writes, finishes those that wait, brings the tables up to date and closes the store. Blocks. Does
    /// nothing on an engine that did not start. One that failed while it ran is stopped too, and stays unreadable.
    package func shutdown() {
        let state = shared.state
        guard state == .serving || state == .storeUnavailable || state == .failed else { return }
        let running: Threads? = threads.withLock { threads in
            // A start that failed has left no committer, and closed everything itself.
            guard !threads.stopping, threads.committer != nil else { return nil }
            threads.stopping = true
            return threads
        }
        guard let running else { return }
        while true {
            let state = shared.state
            guard state == .serving || state == .storeUnavailable else { break }
            shared.move(from: state, to: .stopping)
        }
        endWatches()
        // While the committer still takes what it asks for.
        upkeepPasses.stop()
        running.upkeep?.join()
        shared.builds.close()
        running.builds?.join()
        shared.queue.close()
        running.committer?.join()
        shared.pending.stop()
        running.materializer?.join()
        shared.waiters.close()
        running.readers?.stop()
        running.scanners?.stop()
        running.erasers?.stop()
        running.auditors?.stop()
        shared.audit.stop()
        running.audit?.join()
        if let failure = shared.tryLogAuditHead() {
            shared.log(.error, "the audit head cannot be written", [("error", failure)])
        }
        shared.store.close()
        shared.state = .stopped
    }

    package var status: EngineStatus {
        let figures = shared.figures.withLock { $0 }
        let size = shared.index.size
        return EngineStatus(
            state: shared.state,
            storeID: figures.storeID,
            sequence: shared.waiters.current,
            appliedSequence: figures.appliedSequence,
            customers: size.customers,
            queueDepth: shared.queue.depth,
            queueCapacity: shared.queue.capacity,
            indexBytes: size.bytes,
            pendingBytes: shared.pending.bytes,
            storeBytes: shared.state == .stopped ? 0 : shared.store.sizeInBytes,
            upkeep: figures.upkeep,
            builds: shared.builds.views,
            watches: shared.watches.status(latest: shared.watchWaiters.current),
            approvals: shared.approvals,
            audit: auditStatus(figures.upkeep.audit),
            breakers: [shared.environment.writeBreaker, shared.environment.readBreaker].compactMap(\.status),
            problem: figures.problem
        )
    }

    package var catalog: Catalog {
        let state = shared.published.withLock { $0.catalog }
        return Catalog(attributes: state.attributes, cohorts: state.cohorts.map { shared.view(of: $0) })
    }

    /// One cohort, also an archived one.
    ///
    /// - Throws: `.notFound`, `.invalidArgument` for a malformed id.
    package func cohort(_ id: String) throws(DomainError) -> CohortView {
        shared.view(of: try anyCohort(id))
    }

    /// All that is stored of a cohort, also of an archived one.
    func anyCohort(_ id: String) throws(DomainError) -> CohortRecord {
        try checkCohortID(id)
        let catalog = shared.published.withLock { $0.catalog }
        guard let number = catalog.numbers[id] else { throw catalog.notFound(cohort: id) }
        return catalog.cohorts[Int(number)]
    }

    /// Does all background work that is due now. Blocks; for tests, with `upkeepInterval` 0.
    package func upkeep() { upkeepPasses.runDue() }

    /// Waits until the store's tables hold everything that is committed. Blocks; for tests, backups and measurements.
    package func materialize() { shared.pending.drain() }

    /// Runs a store read on a thread made for it.
    func onReadThread<R: Sendable>(
        _ body: @escaping @Sendable () -> Result<R, DomainError>
    ) async throws(DomainError) -> R {
        guard let readers = threads.withLock({ $0.readers }) else {
            try shared.requireReadable(); throw .internal(message: "no threads")
        }
        return try await traced("cohort.store.read") { () async throws(DomainError) in try await readers.run(body) }
    }

    /// Runs an erasure of members on a thread kept for such.
    func onEraserThread<R: Sendable>(
        _ body: @escaping @Sendable () -> Result<R, DomainError>
    ) async throws(DomainError) -> R {
        guard let erasers = threads.withLock({ $0.erasers }) else {
            try shared.requireReadable(); throw .internal(message: "no threads")
        }
        return try await erasers.run(body)
    }

    /// Runs a read of the audit on the thread kept for such.
    func onAuditThread<R: Sendable>(
        _ body: @escaping @Sendable () -> Result<R, DomainError>
    ) async throws(DomainError) -> R {
        guard let auditors = threads.withLock({ $0.auditors }) else {
            try shared.requireReadable(); throw .internal(message: "no threads")
        }
        return try await traced("cohort.audit.read") { () async throws(DomainError) in try await auditors.run(body) }
    }

    private func startAudit() {
        let shared = shared
        threads.withLock {
            $0.audit = Worker(name: "cohort-audit") { shared.audit.run { shared.setAuditProblem($0) } }
        }
        // Tried again by upkeep.
        try? shared.noteAuditFigures()
        if let failure = shared.tryLogAuditHead() {
            shared.log(.error, "the audit head cannot be written", [("error", failure)])
        }
    }

    /// Runs a long read of the whole store on a thread kept for such.
    func onScanThread<R: Sendable>(
        _ body: @escaping @Sendable () -> Result<R, DomainError>
    ) async throws(DomainError) -> R {
        guard let scanners = threads.withLock({ $0.scanners }) else {
            try shared.requireReadable(); throw .internal(message: "no threads")
        }
        return try await traced("cohort.store.scan") { () async throws(DomainError) in try await scanners.run(body) }
    }
}

import CrashTesting
import Foundation
import Synchronization
import Testing

@testable import CohortCore
@testable import CohortSQLite

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere for a seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

let tester = WriteContext(principal: "tester", method: "test")

extension ContinuousClock.Instant {
    /// Long enough that only a hang reaches it.
    static var far: ContinuousClock.Instant { .now + .seconds(60) }
}

/// A directory that is gone when the test is over.
final class TemporaryDirectory: Sendable {
    let path: String

    init() {
        path = FileManager.default.temporaryDirectory.path + "/cohort-" + UUID().uuidString
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

extension SQLiteStore {
    convenience init(directory: String, options: FileOptions = FileOptions()) {
        self.init(directory: directory, audit: .forTests(), options: options)
    }
}

/// Passes everything on, and fails what it is told to.
final class FaultyStore: Store {
    struct Faults: Sendable {
        /// Tables are not written any more: what is committed stays in the log alone.
        var apply = false
        /// Own rows of the audit are not written any more.
        var audit = false
        /// The next appends fail without being written.
        var appendsLost = 0
        /// Appends that still work before all are lost; `nil` for all.
        var appendsLeft: Int?
        /// The next appends are written and still report failure.
        var appendsUnconfirmed = 0
        /// The next recoveries of the log fail.
        var recoveries = 0
        /// Scans of customers that still work before they fail; `nil` for all.
        var scansLeft: Int?
        /// Called at the beginning of every scan of customers.
        var scanning: (@Sendable () -> Void)?
        /// What the log says it reaches to, instead of the truth.
        var lastSequence: UInt64?
        /// Runs once when this kind of read is done, before its caller goes on.
        var afterRead: (read: Read, body: @Sendable () -> Void)?
    }

    enum Read: CaseIterable { case readCustomers, readIntervals, scanCustomers, scanIntervals }

    private func didRead(_ read: Read) {
        let body: (@Sendable () -> Void)? = faults.withLock { faults in
            guard let after = faults.afterRead, after.read == read else { return nil }
            faults.afterRead = nil
            return after.body
        }
        body?()
    }

    private let store: any Store
    private let faults = Mutex(Faults())

    init(_ store: any Store) { self.store = store }

    func set(_ change: (inout Faults) -> Void) { faults.withLock { change(&$0) } }

    func open() throws(StoreError) -> StoreSummary { try store.open() }
    func loadCatalog() throws(StoreError) -> StoredCatalog { try store.loadCatalog() }
    func scanAssignments(_ body: (Assignment) -> Void) throws(StoreError) { try store.scanAssignments(body) }
    func scanCustomers(
        _ range: ClosedRange<Ordinal>,
        _ body: (Ordinal, UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        let fails = faults.withLock { faults in
            guard let left = faults.scansLeft else { return false }
            faults.scansLeft = max(0, left - 1)
            return left == 0
        }
        if fails { throw .failed("planted: no scan") }
        faults.withLock { $0.scanning }?()
        try store.scanCustomers(range, body)
        didRead(.scanCustomers)
    }
    func readCustomers(
        _ ordinals: [Ordinal],
        _ body: (Int, UnsafeRawBufferPointer) throws(StoreError) -> Void
    ) throws(StoreError) {
        try store.readCustomers(ordinals, body)
        didRead(.readCustomers)
    }
    func readIntervals(
        _ query: IntervalQuery
    ) throws(StoreError) -> (intervals: [ClosedInterval], horizon: HistoryHorizon?) {
        let found = try store.readIntervals(query)
        didRead(.readIntervals)
        return found
    }
    func scanIntervals(
        _ range: ClosedRange<Ordinal>,
        cohort: CohortNumber,
        at point: PastPoint,
        _ body: (Ordinal, Membership) throws(StoreError) -> Void
    ) throws(StoreError) {
        try store.scanIntervals(range, cohort: cohort, at: point, body)
        didRead(.scanIntervals)
    }
    func historyHorizon() throws(StoreError) -> HistoryHorizon? { try store.historyHorizon() }
    func append(_ rows: [LogRow]) throws(StoreError) {
        let (lost, unconfirmed) = faults.withLock { faults in
            defer {
                faults.appendsLost = max(0, faults.appendsLost - 1)
                faults.appendsUnconfirmed = max(0, faults.appendsUnconfirmed - 1)
            }
            let isOver = faults.appendsLeft == 0
            faults.appendsLeft = faults.appendsLeft.map { max(0, $0 - 1) }
            return (faults.appendsLost > 0 || isOver, faults.appendsUnconfirmed > 0)
        }
        if lost { throw .failed("planted: lost") }
        try store.append(rows)
        if unconfirmed { throw .failed("planted: unconfirmed") }
    }
    func recoverLog() throws(StoreError) -> UInt64 {
        let fails = faults.withLock { faults in
            defer { faults.recoveries = max(0, faults.recoveries - 1) }
            return faults.recoveries > 0
        }
        if fails { throw .failed("planted: no recovery") }
        let last = try store.recoverLog()
        return faults.withLock { $0.lastSequence } ?? last
    }
    func readLog(from sequence: UInt64, limit: Int) throws(StoreError) -> [LogRow] {
        try store.readLog(from: sequence, limit: limit)
    }
    func stage(_ changes: [BulkChange]) throws(StoreError) { try store.stage(changes) }
    func loadBulk(_ reference: BulkReference) throws(StoreError) -> BulkChange { try store.loadBulk(reference) }
    func stage(_ change: AssignmentChange) throws(StoreError) { try store.stage(change) }
    func loadAssignments(_ reference: AssignmentReference) throws(StoreError) -> AssignmentChange {
        try store.loadAssignments(reference)
    }
    func apply(_ batch: MaterializedBatch) throws(StoreError) {
        if faults.withLock({ $0.apply }) { throw .failed("planted: no tables") }
        try store.apply(batch)
    }
    var sizeInBytes: UInt64 { store.sizeInBytes }
    var upkeep: any StoreUpkeep { store.upkeep }
    var audit: any AuditStore { FaultyAudit(store: store.audit, fails: faults.withLock { $0.audit }) }
    func close() { store.close() }
}

/// Holds scans of customers until it is opened.
final class Gate: Sendable {
    private let state = Monitor((held: false, open: false))

    /// Waits on the thread of the scan.
    func pass() {
        state.update { $0.held = true }
        _ = state.wait(seconds: 60) { $0.open ? true : nil }
    }

    func untilHeld() async throws {
        _ = try await blocking { [state] in state.wait(seconds: 60) { $0.held ? true : nil } }
    }

    func open() { state.update { $0.open = true } }
}

/// Passes everything on, but own rows if it is told so.
private struct FaultyAudit: AuditStore {
    let store: any AuditStore
    let fails: Bool

    var head: AuditHead? { store.head }
    var keys: AuditKeys { store.keys }
    func append(_ records: [AuditRecord], at now: Timestamp) throws(StoreError) {
        if fails { throw .failed("planted: no audit") }
        try store.append(records, at: now)
    }
    func rows(from position: UInt64, descending: Bool, limit: Int) throws(StoreError) -> [AuditRow] {
        try store.rows(from: position, descending: descending, limit: limit)
    }
    func piece(from position: UInt64, limit: Int, entries: Int) throws(StoreError) -> AuditPiece {
        try store.piece(from: position, limit: limit, entries: entries)
    }
    func deleteRows(
        from position: UInt64,
        before time: Timestamp,
        limit: Int
    ) throws(StoreError) -> (deleted: Int, next: UInt64) {
        try store.deleteRows(from: position, before: time, limit: limit)
    }
    func figures() throws(StoreError) -> AuditStoreFigures { try store.figures() }
}

/// Runs something that blocks off the tasks' threads.
func blocking<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
}

func started(
    _ store: any Store,
    configuration: EngineConfiguration = .init(),
    now: @escaping @Sendable () -> Timestamp = { SystemClock.now() },
    stateChanged: @escaping @Sendable (EngineState) -> Void = { _ in }
) async throws -> Engine {
    let engine = Engine(
        store: store,
        configuration: configuration,
        environment: EngineEnvironment(now: now, stateChanged: stateChanged)
    )
    try await blocking { try engine.start() }
    return engine
}

/// The domain error that `body` throws.
func domainError(_ body: () async throws -> some Any) async -> DomainError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? DomainError
    }
}

/// Polls for what another thread is about to do; the limit is there for a hang alone.
func eventually(_ condition: () -> Bool) async throws -> Bool {
    for _ in 0..<6_000 {
        if condition() { return true }
        try await Task.sleep(for: .milliseconds(5))
    }
    return condition()
}

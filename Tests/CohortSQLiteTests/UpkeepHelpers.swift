import Foundation
import Synchronization

@testable import CohortCore
@testable import CohortSQLite

/// A clock that stands still until it is moved.
final class ManualClock: Sendable {
    private let time = Mutex(Timestamp(seconds: 1_750_000_000) ?? .epoch)

    var now: Timestamp { time.withLock { $0 } }
    func advance(_ seconds: Int64) { time.withLock { $0 = $0.advanced(bySeconds: seconds) } }
}

/// A clock that a test sets.
final class MovableClock: Sendable {
    private let time: Mutex<Timestamp>

    init(_ start: Timestamp) { time = Mutex(start) }

    var now: Timestamp {
        get { time.withLock { $0 } }
        set { time.withLock { $0 = newValue } }
    }
}

/// Collects the engine's events.
final class EventLog: Sendable {
    private let events = Mutex<[EngineEvent]>([])

    func add(_ event: EngineEvent) { events.withLock { $0.append(event) } }
    func count(_ message: String) -> Int { events.withLock { $0.count { $0.message == message } } }
}

extension EngineConfiguration {
    /// No background work but by `Engine.upkeep`.
    static var byHand: EngineConfiguration {
        var configuration = EngineConfiguration()
        configuration.upkeepInterval = 0
        configuration.materializeInterval = 1
        return configuration
    }
}

extension Engine {
    func set(_ id: String, _ attributes: [(name: String, value: AttributeValue?)]) async throws {
        _ = try await put(CustomerPut(customerID: id, attributes: attributes), context: tester)
    }

    func set(_ id: String, spend: Double) async throws {
        try await set(id, [(name: "daily_spend", value: .double(spend))])
    }

    func rule(_ id: String, _ rule: String) async throws {
        _ = try await createCohort(CohortDefinition(id: id, kind: .rule, rule: rule), context: tester)
    }

    /// Does what is due with everything in the tables.
    func upkeepNow() async throws {
        try await blocking { [self] in
            materialize()
            upkeep()
        }
    }

    /// Verifies the audit to the end.
    func verdict(known: AuditHead? = nil) async throws -> AuditVerdict {
        let verification = try verifyAudit(known: known)
        while true {
            if case .done(let verdict) = try await verification.next() { return verdict }
        }
    }

    /// Everything that a query finds.
    func items(_ query: AuditQuery) async throws -> [AuditItem] {
        let listing = try listAudit(query)
        var items: [AuditItem] = []
        while let page = try await listing.next() { items += page }
        return items
    }

    func stop() async throws { try await blocking { [self] in shutdown() } }

    func ordinal(of id: String) -> Ordinal? {
        Array(id.utf8).withUnsafeBytes { shared.index.customers.ordinal(of: $0) }
    }
}

/// The files of a directory that contain these bytes.
func files(in directory: String, containing text: String) throws -> [String] {
    let needle = Data(text.utf8)
    return try FileManager.default.contentsOfDirectory(atPath: directory).sorted().filter {
        try Data(contentsOf: URL(fileURLWithPath: directory + "/" + $0)).range(of: needle) != nil
    }
}

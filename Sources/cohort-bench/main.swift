import CohortCore
import CohortSQLite
import Foundation

/// Measures the engine in process, without RPC:
///
///     cohort-bench ingest DIRECTORY CUSTOMERS [UPDATES]
///     cohort-bench open DIRECTORY
///     cohort-bench audit DIRECTORY
///     cohort-bench members DIRECTORY
///     cohort-bench series CERTIFICATE KEY HISTOGRAMS TOTALS
///
/// `ingest` fills a new store and then updates random customers; `open` measures the start, the memory and checks;
/// `audit` starts the engine and derives all memberships anew; `members` writes the members of every cohort as Redis
/// commands that add them to sets; `series` serves so many metrics by RPC and TLS, for a sidecar to scrape.
struct Bench {
    /// Of one run: what it leaves behind is thrown away.
    static let audit = AuditKeyring()

    static func residentMiB() -> Double {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        for line in status.split(separator: "\n") where line.hasPrefix("VmRSS:") {
            let digits = line.filter(\.isNumber)
            return (Double(digits) ?? 0) / 1_024
        }
        return 0
    }

    static func report(_ name: String, _ value: String) {
        print(name.padding(toLength: 44, withPad: " ", startingAt: 0) + value)
        fflush(nil)
    }

    static func start(_ directory: String) throws -> (Engine, Double) {
        let engine = Engine(
            store: SQLiteStore(directory: directory, audit: audit),
            environment: EngineEnvironment(log: { event in
                FileHandle.standardError.write(Data("\(event.message) \(event.metadata)\n".utf8))
            })
        )
        let clock = ContinuousClock()
        let time = try clock.measure { try engine.start() }
        return (engine, time.seconds)
    }

    static func ingest(_ directory: String, customers: Int, updates: Int) async throws {
        let (engine, _) = try start(directory)
        for (name, type) in Workload.attributes {
            _ = try await engine.declareAttribute(name: name, type: type, context: Workload.context)
        }
        for cohort in Workload.cohorts { _ = try await engine.createCohort(cohort, context: Workload.context) }
        let inserted = try await rate(customers) { range in
            try await put(engine, range.map { Workload.put($0, of: customers) })
        }
        report("ingest of new customers, 20 rules", "\(Int(inserted)) /s durable")
        report("resident after ingest", String(format: "%.0f MiB", residentMiB()))
        let drain = ContinuousClock().measure { engine.materialize() }
        report("tables behind the log by", String(format: "%.2f s", drain.seconds))
        if updates > 0 {
            let updated = try await rate(updates) { range in
                try await put(
                    engine,
                    range.map {
                        Workload.update(
                            Int(Workload.mix(UInt64($0)) % UInt64(customers)),
                            of: customers,
                            round: UInt64($0)
                        )
                    }
                )
            }
            report("updates of random customers, 20 rules", "\(Int(updated)) /s durable")
            let drain = ContinuousClock().measure { engine.materialize() }
            report("tables behind the log by", String(format: "%.2f s", drain.seconds))
        }
        let status = engine.status
        report("index", String(format: "%.0f MiB", Double(status.indexBytes) / 1_048_576))
        report("store", String(format: "%.0f MiB", Double(status.storeBytes) / 1_048_576))
        let stop = ContinuousClock().measure { engine.shutdown() }
        report("stop", String(format: "%.2f s", stop.seconds))
    }

    static func open(_ directory: String) async throws {
        let (engine, seconds) = try start(directory)
        let customers = Int(engine.status.customers)
        report("customers", "\(customers)")
        report("ready after", String(format: "%.2f s", seconds))
        report("resident when ready", String(format: "%.0f MiB", residentMiB()))
        report("index", String(format: "%.0f MiB", Double(engine.status.indexBytes) / 1_048_576))
        let ids = (0..<200_000).map {
            Workload.id(Int(Workload.mix(UInt64($0)) % UInt64(max(customers, 1))), of: customers)
        }
        for threads in [1, 2] {
            let total = 2_000_000
            let time = await ContinuousClock().measure {
                await withTaskGroup(of: Int.self) { group in
                    for thread in 0..<threads {
                        group.addTask {
                            var members = 0
                            for i in 0..<(total / threads) {
                                let id = ids[(i * 7 + thread * 100_003) % ids.count]
                                if case .answer(let answer)? = try? engine.checkMembership(
                                    customer: id,
                                    cohort: "COHORT_3"
                                ), answer.member == true {
                                    members += 1
                                }
                            }
                            return members
                        }
                    }
                }
            }
            report(
                "checks, \(threads) thread(s)",
                String(
                    format: "%.0f /s, %.0f ns each",
                    Double(total) / time.seconds,
                    time.seconds * 1e9 * Double(threads) / Double(total)
                )
            )
        }
        var latencies: [Double] = []
        for id in ids.prefix(100_000) {
            let time = ContinuousClock().measure {
                _ = try? engine.checkMembership(customer: id, cohort: "COHORT_11")
            }
            latencies.append(time.seconds * 1e9)
        }
        latencies.sort()
        report(
            "check latency p50/p99/p99.9",
            "\(Int(latencies[50_000])) / \(Int(latencies[99_000])) / \(Int(latencies[99_900])) ns"
        )
        let clock = ContinuousClock()
        let publish = try await clock.measure {
            _ = try await engine.updateRule(
                cohort: "COHORT_3",
                rule: "customer.daily_spend > \(Int.random(in: 100...900)).5",
                context: Workload.context
            )
        }
        report("rule published over all", String(format: "%.2f s", publish.seconds))
        report("resident at the end", String(format: "%.0f MiB", residentMiB()))
        engine.shutdown()
    }

    static func audit(_ directory: String) async throws {
        let (engine, _) = try start(directory)
        let clock = ContinuousClock()
        var report = AuditReport()
        let time = try await clock.measure { report = try await engine.audit() }
        report.samples.prefix(5).forEach { print($0) }
        Self.report("sequence", "\(engine.status.sequence)")
        Self.report("customers", "\(report.customers)")
        Self.report("differences", "\(report.differences)")
        Self.report("audit", String(format: "%.2f s", time.seconds))
        engine.shutdown()
        if report.differences > 0 { exit(1) }
    }

    static func members(_ directory: String) async throws {
        let (engine, _) = try start(directory)
        for cohort in Workload.cohorts {
            let snapshot = try await engine.members(cohort: cohort.id, deadline: .now + .seconds(60))
            while case let page = snapshot.nextPage(limit: 1_000), !page.isEmpty {
                let words = ["SADD", cohort.id] + page
                let command = words.reduce(into: "*\(words.count)\r\n") { $0 += "$\($1.utf8.count)\r\n\($1)\r\n" }
                FileHandle.standardOutput.write(Data(command.utf8))
            }
        }
        engine.shutdown()
    }

    /// What the audit chain costs on the commit path: groups of 2,000 entries, and of one.
    static func chain() {
        let time = SystemClock.now()
        for bytes in [60, 200, 1_000] {
            for size in [2_000, 1] {
                let group = (1...UInt64(size)).map {
                    LogRow(
                        sequence: $0,
                        time: time,
                        payload: [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: bytes)
                    )
                }
                var chain = AuditChain()
                let rounds = 200_000 / size
                let begin = processorSeconds
                for _ in 0..<rounds { _ = chain.append(group, audit.keys) }
                let spent = processorSeconds - begin
                report(
                    "chain, groups of \(size), entries of \(bytes) B",
                    String(format: "%.0f ns an entry", spent / Double(rounds * size) * 1e9)
                )
            }
        }
    }

    /// Of this process: what others do meanwhile does not count.
    private static var processorSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func put(_ engine: Engine, _ rows: [CustomerPut]) async throws {
        while true {
            var refused: DomainError?
            do throws(DomainError) {
                for result in try await engine.put(batch: rows, context: Workload.context) { _ = try result.get() }
            } catch {
                refused = error
            }
            guard let refused else { return }
            guard case .resourceExhausted = refused else { throw refused }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Items a second, in batches of 1,000 by eight senders.
    private static func rate(
        _ count: Int,
        _ body: @escaping @Sendable (Range<Int>) async throws -> Void
    ) async throws -> Double {
        let clock = ContinuousClock()
        let time = try await clock.measure {
            try await withThrowingTaskGroup(of: Void.self) { group in
                var running = 0
                for first in stride(from: 0, to: count, by: 1_000) {
                    if running == 8 {
                        try await group.next()
                        running -= 1
                    }
                    group.addTask { try await body(first..<min(first + 1_000, count)) }
                    running += 1
                }
                try await group.waitForAll()
            }
        }
        return Double(count) / time.seconds
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}

let arguments = CommandLine.arguments
switch (arguments.dropFirst().first, arguments.count) {
case ("ingest", 4...):
    try await Bench.ingest(
        arguments[2],
        customers: Int(arguments[3]) ?? 100_000,
        updates: arguments.count > 4 ? Int(arguments[4]) ?? 0 : 0
    )
case ("members", 3): try await Bench.members(arguments[2])
case ("audit", 3): try await Bench.audit(arguments[2])
case ("chain", 2): Bench.chain()
case ("open", 3): try await Bench.open(arguments[2])
case ("series", 6):
    let server = SeriesServer(histograms: Int(arguments[4]) ?? 0, totals: Int(arguments[5]) ?? 0)
    try await server.run(certificate: arguments[2], key: arguments[3])
default:
    FileHandle.standardError.write(
        Data(
            ("usage: cohort-bench ingest DIRECTORY CUSTOMERS [UPDATES] | open DIRECTORY | audit DIRECTORY | members DIRECTORY "
                + "| chain | series CERTIFICATE KEY HISTOGRAMS TOTALS\n").utf8
        )
    )
    exit(2)
}

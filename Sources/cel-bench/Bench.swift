import CEL
import Glibc

/// Measures the rule language on one thread, with its cost limit on, and prints one JSON object per line.
///
/// `scripts/bench-cel` runs it with the allocation counter of `Tests/Shims` preloaded, and beside a peer.
@main
enum Bench {
    static func main() throws {
        let environment = Environment(record: Workload.schema, named: "customer", functions: Workload.functions)
        let rounds = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 41 : 41
        for (name, source) in Workload.rules {
            let program = try environment.compile(source)
            measure("evaluate \(name)", rounds: rounds, operations: 20_000) { round in
                program.evaluate(Workload.records[round & 1_023]) == .match
            }
            measure("compile \(name)", rounds: rounds, operations: 500) { _ in
                (try? environment.compile(source)) != nil
            }
        }
        let host = Workload.Host()
        let calling = try environment.compile("in_cohort('VIP') && !in_cohort('FRAUD')")
        measure("evaluate host functions", rounds: rounds, operations: 20_000) { _ in
            calling.evaluate(Workload.records[0], host: host) == .match
        }
        // The counter must see an operation that allocates.
        measure("control: one array per operation", rounds: 5, operations: 20_000) { round in
            let array = Array(repeating: round, count: 100 + round & 1)
            return array.withUnsafeBufferPointer { sink($0) }
        }
    }

    /// Not to be seen through by the optimiser.
    @inline(never)
    static func sink(_ buffer: UnsafeBufferPointer<Int>) -> Bool { buffer[0] >= 0 }

    /// Allocations so far, where the counter is preloaded.
    static let allocations: (@convention(c) () -> UInt64)? = {
        guard let symbol = dlsym(nil, "malloc_count_total") else { return nil }
        return unsafeBitCast(symbol, to: (@convention(c) () -> UInt64).self)
    }()

    @inline(never)
    static func measure(_ name: String, rounds: Int, operations: Int, _ body: (Int) -> Bool) {
        var times: [Double] = []
        times.reserveCapacity(rounds + 1)
        var matches = 0
        for operation in 0..<operations where body(operation) { matches += 1 }  // To warm up.
        let before = allocations?()
        for _ in 0..<rounds {
            let start = threadTime()
            for operation in 0..<operations where body(operation) { matches += 1 }
            times.append((threadTime() - start) / Double(operations))
        }
        let after = allocations?()
        times.sort()
        var line = "{\"name\": \"\(name)\", \"minimum_ns\": \(rounded(times[0])), "
        line += "\"median_ns\": \(rounded(times[times.count / 2])), "
        line += "\"p90_ns\": \(rounded(times[times.count * 9 / 10])), \"matches\": \(matches)"
        if let before, let after {
            line += ", \"allocations\": \(rounded(Double(after - before) / Double(rounds * operations)))"
        }
        print(line + "}")
    }

    /// The processor time of this thread in nanoseconds: what other processes take does not count.
    static func threadTime() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
    }

    static func rounded(_ value: Double) -> Double { (value * 1_000).rounded() / 1_000 }
}

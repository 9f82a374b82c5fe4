package import CoreMetrics
import Foundation
import Metrics
import Synchronization

/// The figures of the process and of the telemetry itself, brought up to date whenever metrics are read.
package final class ProcessMetrics: Sendable {
    private struct Counted {
        var user = 0.0
        var system = 0.0
        var overflowed: UInt64 = 0
        var dropped: UInt64 = 0
        var suppressed: UInt64 = 0
        var lost: UInt64 = 0
    }

    private let telemetry: TelemetrySystem
    private let linesSuppressed: @Sendable () -> UInt64
    private let linesLost: @Sendable () -> UInt64
    private let begin = ContinuousClock.now
    private let counted = Mutex(Counted())

    private let userTime: FloatingPointCounter
    private let systemTime: FloatingPointCounter
    private let memory: Gauge
    private let uptime: Gauge
    private let descriptors: Gauge
    private let threads: Gauge
    private let series: Gauge
    private let overflowed: Counter
    private let spansWaiting: Gauge
    private let spansDropped: Counter
    private let suppressed: Counter
    private let lost: Counter

    /// - Parameter prefix: Comes before every name, where the figures of two processes are read together.
    package init(
        telemetry: TelemetrySystem,
        prefix: String = "",
        factory: any MetricsFactory = MetricsSystem.factory,
        linesSuppressed: @escaping @Sendable () -> UInt64 = { 0 },
        linesLost: @escaping @Sendable () -> UInt64 = { 0 }
    ) {
        self.telemetry = telemetry
        self.linesSuppressed = linesSuppressed
        self.linesLost = linesLost
        func counter(_ name: String) -> Counter { Counter(label: prefix + name, dimensions: [], factory: factory) }
        func gauge(_ name: String) -> Gauge { Gauge(label: prefix + name, dimensions: [], factory: factory) }
        func time(_ mode: String) -> FloatingPointCounter {
            FloatingPointCounter(label: prefix + "process.cpu.time", dimensions: [("cpu.mode", mode)], factory: factory)
        }
        userTime = time("user")
        systemTime = time("system")
        memory = gauge("process.memory.usage")
        uptime = gauge("process.uptime")
        descriptors = gauge("process.file_descriptors")
        threads = gauge("process.threads")
        series = gauge("telemetry.metrics.series")
        overflowed = counter("telemetry.metrics.series_overflowed")
        spansWaiting = gauge("telemetry.spans.waiting")
        spansDropped = counter("telemetry.spans.dropped")
        suppressed = counter("telemetry.access_log.suppressed")
        lost = counter("telemetry.log.lines_lost")
    }

    package func update() {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        let size = telemetry.metrics.size
        let spans = telemetry.tracer.buffer.size
        counted.withLock { counted in
            Self.count(usage.ru_utime.seconds, &counted.user, userTime)
            Self.count(usage.ru_stime.seconds, &counted.system, systemTime)
            overflowed.advance(to: size.overflowed, from: &counted.overflowed)
            spansDropped.advance(to: spans.dropped, from: &counted.dropped)
            suppressed.advance(to: linesSuppressed(), from: &counted.suppressed)
            lost.advance(to: linesLost(), from: &counted.lost)
        }
        memory.record(residentBytes())
        uptime.record(begin.duration(to: .now) / .seconds(1))
        series.record(size.series)
        spansWaiting.record(spans.waiting)
        if let files = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            descriptors.record(files.count)
        }
        if let tasks = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task") {
            threads.record(tasks.count)
        }
    }

    private static func count(_ total: Double, _ counted: inout Double, _ counter: FloatingPointCounter) {
        counter.increment(by: max(0, total - counted))
        counted = max(counted, total)
    }
}

extension timeval {
    fileprivate var seconds: Double { Double(tv_sec) + Double(tv_usec) / 1e6 }
}

/// Resident memory of this process in bytes, 0 where the system does not tell.
@Sendable
package func residentBytes() -> UInt64 {
    // The second number of statm is the resident size in pages.
    guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8),
        let pages = UInt64(text.split(separator: " ").dropFirst().first ?? "")
    else { return 0 }
    return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
}

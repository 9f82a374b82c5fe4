import Foundation
import Metrics

/// What the machine allows the process, as metrics, brought up to date whenever metrics are read.
final class ResourceMetrics: Sendable {
    private let memoryLimit: Gauge
    private let descriptorsLimit: Gauge
    private let processors: Gauge

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        func gauge(_ name: String) -> Gauge { Gauge(label: name, dimensions: [], factory: factory) }
        memoryLimit = gauge("process.memory.limit")
        descriptorsLimit = gauge("process.file_descriptors.limit")
        processors = gauge("process.cpu.available")
    }

    func update() {
        memoryLimit.record(MemoryLimit.bytes)
        processors.record(Processors.available)
        if let limits = try? String(contentsOfFile: "/proc/self/limits", encoding: .utf8),
            let descriptors = Self.descriptors(inLimits: limits)
        {
            descriptorsLimit.record(descriptors)
        }
    }

    /// The soft limit on open files in proc(5)'s `limits`; nil where there is none.
    static func descriptors(inLimits limits: String) -> Int? {
        let key = "Max open files"
        guard let line = limits.split(separator: "\n").first(where: { $0.hasPrefix(key) }) else { return nil }
        return line.dropFirst(key.count).split(separator: " ").first.flatMap { Int($0) }
    }
}

/// The memory that this process may have.
enum MemoryLimit {
    /// In bytes: the machine's, or the least that a control group of the process allows.
    static var bytes: UInt64 {
        let groups = read("/proc/self/cgroup").map { inControlGroups($0, read: read) } ?? nil
        return min(groups ?? .max, ProcessInfo.processInfo.physicalMemory)
    }

    /// The least that the groups named in proc(5)'s `cgroup`, and those above them, allow; nil where none has a limit.
    ///
    /// Version 2 has one line, `0::PATH`. Version 1 has a line for memory, `N:memory:PATH`, and files of its own. In a container the
    /// path may be one of the host's that is not to be seen here: the root of what is mounted is looked at in any case.
    static func inControlGroups(_ cgroup: String, read: (String) -> String?) -> UInt64? {
        var least: UInt64?
        for line in cgroup.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            let (root, file): (String, String)
            switch parts[1] {
            case "": (root, file) = ("/sys/fs/cgroup", "memory.max")
            case "memory": (root, file) = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            default: continue
            }
            var names = parts[2].split(separator: "/")
            while true {
                let path = ([root] + names.map(String.init) + [file]).joined(separator: "/")
                // "max" where there is no limit.
                if let limit = read(path).flatMap({ UInt64($0.trimmingCharacters(in: .whitespacesAndNewlines)) }) {
                    least = min(least ?? .max, limit)
                }
                guard names.popLast() != nil else { break }
            }
        }
        return least
    }

    private static func read(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }
}

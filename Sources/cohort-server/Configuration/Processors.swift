import Foundation
import NIOCore

/// The processors that this process may use.
enum Processors {
    /// 1 or more: those it is pinned to, or as many as its control group allows where that is fewer.
    static var available: Int {
        let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        return max(1, min(status.flatMap { allowed(inStatus: $0) } ?? .max, System.coreCount))
    }

    /// How many processors the mask in proc(5)'s `status` allows; `nil` where there is none.
    static func allowed(inStatus status: String) -> Int? {
        let key = "Cpus_allowed:"
        guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix(key) }) else { return nil }
        // Hexadecimal words with commas between them.
        let bits = line.dropFirst(key.count).compactMap(\.hexDigitValue).reduce(0) { $0 + $1.nonzeroBitCount }
        return bits > 0 ? bits : nil
    }
}

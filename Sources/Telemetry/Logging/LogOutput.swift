import Dispatch
import Foundation
import Synchronization

/// Where log lines go: whole lines, in order, written by a thread that is not the caller's.
///
/// A disk that is slow, or a pipe that nobody reads, costs lines, which are counted, and holds up no call.
package final class LogOutput: Sendable {
    private struct State {
        var waiting: [String] = []
        /// Those that wait and those that are being written.
        var count = 0
    }

    package static let defaultCapacity = 16_384
    private static let longestFlush = DispatchTimeInterval.seconds(2)

    private let sink: @Sendable (String) -> Bool
    private let capacity: Int
    private let state = Mutex(State())
    private let lost = Atomic<UInt64>(0)
    private let queue = DispatchQueue(label: "cohort.log")

    /// - Parameters:
    ///   - capacity: Lines that wait to be written; those beyond are lost.
    ///   - sink: Writes a line, and says whether it could.
    package init(capacity: Int = defaultCapacity, _ sink: @escaping @Sendable (String) -> Bool) {
        self.capacity = capacity
        self.sink = sink
    }

    /// The standard error of the process: one write for a line, so that lines of several processes do not mix.
    package static func standardError(capacity: Int = defaultCapacity) -> LogOutput {
        LogOutput(capacity: capacity) { line in
            var line = line
            return line.withUTF8 { writeWhole($0, to: STDERR_FILENO) == $0.count }
        }
    }

    /// Lines that could not be written, or for which there was no room.
    package var linesLost: UInt64 { lost.load(ordering: .relaxed) }

    /// Hands the line over and returns at once.
    package func write(_ line: String) {
        let count = state.withLock { state in
            guard state.count < capacity else { return 0 }
            state.waiting.append(line)
            state.count += 1
            return state.count
        }
        if count == 0 { lost.wrappingAdd(1, ordering: .relaxed) }
        // Where there were others somebody is about to write them, and looks again.
        if count == 1 { queue.async { self.drain() } }
    }

    /// Waits until what was handed over is written, 2 s at most.
    package func flush() {
        let done = DispatchSemaphore(value: 0)
        queue.async {
            self.drain()
            done.signal()
        }
        _ = done.wait(timeout: .now() + Self.longestFlush)
    }

    private func drain() {
        while true {
            let lines = state.withLock { state in
                defer { state.waiting = [] }
                return state.waiting
            }
            if lines.isEmpty { return }
            for line in lines where !sink(line) { lost.wrappingAdd(1, ordering: .relaxed) }
            let isEmpty = state.withLock { state in
                state.count -= lines.count
                return state.count == 0
            }
            if isEmpty { return }
        }
    }
}

import Foundation
import Synchronization

/// The file that the log is written to. One that has become too large is renamed to `FILE.1`, that to `FILE.2` and so on, and the
/// oldest is removed. Whole lines, in order, from any number of threads; a line is never split between two files.
package final class LogFile: Sendable {
    /// Where, and how much.
    package struct Settings: Sendable, Equatable {
        package var path: String
        /// Size beyond which another file is begun.
        package var bytes: Int
        /// Files kept beside the current one.
        package var count: Int

        package init(path: String, bytes: Int, count: Int) {
            self.path = path
            self.bytes = bytes
            self.count = count
        }
    }

    /// It cannot be written, and why.
    package struct Unusable: Error { package var reason: String }

    private struct State {
        var descriptor: Int32 = -1
        var size = 0
    }

    private let settings: Settings
    private let state = Mutex(State())
    private let lost = Atomic<UInt64>(0)

    package init(_ settings: Settings) throws(Unusable) {
        self.settings = settings
        let failure = state.withLock { open(&$0) ? 0 : errno }
        guard failure == 0 else { throw Unusable(reason: String(cString: strerror(failure))) }
    }

    deinit { state.withLock { if $0.descriptor >= 0 { close($0.descriptor) } } }

    /// Lines that could not be written.
    package var linesLost: UInt64 { lost.load(ordering: .relaxed) }

    /// Whether it could be written.
    @discardableResult
    package func write(_ line: String) -> Bool {
        var line = line
        return line.withUTF8 { bytes in
            let isWritten = state.withLock { state in
                if state.size > 0, state.size + bytes.count > settings.bytes { rotate(&state) }
                guard state.descriptor >= 0 || open(&state) else { return false }
                return write(bytes, &state)
            }
            if !isWritten { lost.wrappingAdd(1, ordering: .relaxed) }
            return isWritten
        }
    }

    /// Opens the file anew, for those who have renamed it.
    package func reopen() {
        state.withLock { state in
            let before = state
            // The old one stays where there can be no other.
            if open(&state) { if before.descriptor >= 0 { close(before.descriptor) } } else { state = before }
        }
    }

    private func open(_ state: inout State) -> Bool {
        let descriptor = Foundation.open(settings.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return false }
        state = State(descriptor: descriptor, size: max(0, Int(lseek(descriptor, 0, SEEK_END))))
        return true
    }

    private func write(_ bytes: UnsafeBufferPointer<UInt8>, _ state: inout State) -> Bool {
        let done = writeWhole(bytes, to: state.descriptor)
        state.size += done
        return done == bytes.count
    }

    private func rotate(_ state: inout State) {
        func name(_ number: Int) -> String { number == 0 ? settings.path : "\(settings.path).\(number)" }
        for number in (0..<settings.count).reversed() { rename(name(number), name(number + 1)) }
        let before = state
        if open(&state) { close(before.descriptor) } else { state = State(descriptor: before.descriptor) }
    }
}

/// Writes as often as it takes. Returns the bytes that were written: fewer than there are where the system takes no more.
func writeWhole(_ bytes: UnsafeBufferPointer<UInt8>, to descriptor: Int32) -> Int {
    var done = 0
    while done < bytes.count {
        let count = Foundation.write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { break }
        done += count
    }
    return done
}

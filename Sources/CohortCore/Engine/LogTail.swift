import Synchronization

/// The last entries of the log, kept in memory so that those who watch at its end need not each read and decode them.
final class LogTail: Sendable {
    private struct State {
        /// What has been dropped is `nil`, until the array is shortened.
        var entries: [WatchEntry?] = []
        var head = 0
        var bytes = 0

        var first: UInt64? { head < entries.count ? entries[head]?.sequence : nil }
        var last: UInt64? { entries.last??.sequence }
    }

    private let state = Mutex(State())
    private let maximumEntries: Int
    private let maximumBytes: Int

    init(maximumEntries: Int, maximumBytes: Int) {
        self.maximumEntries = maximumEntries
        self.maximumBytes = maximumBytes
    }

    /// Takes in entries that follow those before.
    func append(_ entries: [LogEntry]) {
        let added = entries.suffix(maximumEntries).map(WatchEntry.init)
        guard let first = added.first else { return }
        state.withLock { state in
            // Never a gap: what is asked for by sequence is found by its place.
            if let last = state.last, last + 1 != first.sequence { state = State() }
            for entry in added {
                state.entries.append(entry)
                state.bytes += entry.bytes
            }
            while state.entries.count - state.head > maximumEntries || state.bytes > maximumBytes {
                guard state.head < state.entries.count else { break }
                state.bytes -= state.entries[state.head]?.bytes ?? 0
                state.entries[state.head] = nil
                state.head += 1
            }
            if state.head * 2 > state.entries.count {
                state.entries.removeFirst(state.head)
                state.head = 0
            }
        }
    }

    /// Up to `limit` entries from a sequence on; `nil` if that is not in memory.
    func entries(from sequence: UInt64, limit: Int) -> [WatchEntry]? {
        state.withLock { state in
            guard let first = state.first, let last = state.last, sequence >= first, sequence <= last else {
                return nil
            }
            let start = state.head + Int(sequence - first)
            return state.entries[start..<min(start + limit, state.entries.count)].compactMap(\.self)
        }
    }
}

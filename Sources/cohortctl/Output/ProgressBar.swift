import Foundation

/// A progress bar on standard error, drawn only when that is a terminal.
struct ProgressBar {
    private let total: Int
    static let isTerminal = isatty(STDERR_FILENO) == 1
    private var lastPercent = -1

    /// - Parameter total: What stands for 100 %, as bytes of a file.
    init(total: Int) {
        self.total = max(total, 1)
    }

    /// Draws the bar when it has moved.
    mutating func update(done: Int, note: String) {
        guard Self.isTerminal else { return }
        let percent = min(100, done * 100 / total)
        guard percent != lastPercent else { return }
        lastPercent = percent
        let filled = percent * 30 / 100
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
        FileHandle.standardError.write(Data("\r\(bar) \(percent) %  \(note)\u{1B}[K".utf8))
    }

    /// Removes the bar.
    func finish() {
        guard Self.isTerminal else { return }
        FileHandle.standardError.write(Data("\r\u{1B}[K".utf8))
    }
}

/// Where something is in a source.
public struct SourcePosition: Sendable, Hashable {
    /// The line, from 1.
    public var line: Int
    /// The column in code points, from 1.
    public var column: Int
    /// The offset in bytes of UTF-8, from 0.
    public var offset: Int
}

/// Why a source could not be compiled: the first problem, and all that were found.
public struct CompilationError: Error, Sendable, Hashable, CustomStringConvertible {
    /// One problem.
    public struct Issue: Sendable, Hashable {
        /// What is wrong, without position.
        public var message: String
        /// Where.
        public var position: SourcePosition
        /// What to write instead, where that is known.
        public var suggestion: String?
    }

    /// The source that was compiled.
    public var source: String
    /// The problems, in the order in which they were found; at least one.
    public var issues: [Issue]

    /// What is wrong first.
    public var message: String { issues[0].message }
    /// The line of the first problem, from 1.
    public var line: Int { issues[0].position.line }
    /// The column of the first problem in code points, from 1.
    public var column: Int { issues[0].position.column }
    /// The offset of the first problem in bytes of UTF-8, from 0.
    public var offset: Int { issues[0].position.offset }
    /// What to write instead, where that is known.
    public var suggestion: String? { issues[0].suggestion }

    init(source: String, issues: [Issue]) {
        precondition(!issues.isEmpty)
        self.source = source
        self.issues = issues
    }

    /// The position and the message of the first problem.
    public var description: String { "\(line):\(column): \(message)" }

    /// Every problem with its position, its suggestion, the line of the source and a caret below the place.
    public var rendered: String {
        let lines = SourceMap.lines(of: source)
        return issues.map { issue in
            var text = "\(issue.position.line):\(issue.position.column): \(issue.message)"
            if let suggestion = issue.suggestion { text += "; \(suggestion)" }
            guard issue.position.line <= lines.count else { return text }
            let (line, caret) = Self.excerpt(lines[issue.position.line - 1], column: issue.position.column)
            return text + "\n | " + line + "\n | " + caret + "^"
        }.joined(separator: "\n")
    }

    /// At most 120 code points of a line about a column, free of control characters, and the blanks before its caret.
    private static func excerpt(_ line: Substring, column: Int) -> (String, String) {
        let scalars = Array(line.unicodeScalars)
        let place = min(max(column - 1, 0), scalars.count)
        let from = place > 100 ? place - 60 : 0
        let to = min(scalars.count, from + 120)
        var text = String.UnicodeScalarView()
        if from > 0 { text.append("…") }
        for scalar in scalars[from..<to] { text.append(scalar.value < 32 || scalar.value == 127 ? " " : scalar) }
        if to < scalars.count { text.append("…") }
        return (String(text), String(repeating: " ", count: place - from + (from > 0 ? 1 : 0)))
    }
}

/// Finds lines and columns of offsets in a source.
struct SourceMap: Sendable {
    private let lineStarts: [Int32]
    private let source: String
    private let isASCII: Bool

    init(_ source: String, bytes: UnsafeBufferPointer<UInt8>) {
        self.source = source
        var starts: [Int32] = [0]
        var high: UInt8 = 0
        for (offset, byte) in bytes.enumerated() {
            high |= byte
            if byte == UInt8(ascii: "\n") { starts.append(Int32(offset + 1)) }
        }
        lineStarts = starts
        isASCII = high < 0x80
    }

    func position(_ offset: Int) -> SourcePosition {
        var low = 0
        var high = lineStarts.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if Int(lineStarts[middle]) <= offset { low = middle } else { high = middle }
        }
        let start = Int(lineStarts[low])
        var column = offset - start + 1
        if !isASCII {
            let utf8 = source.utf8
            let from = utf8.index(utf8.startIndex, offsetBy: min(start, utf8.count))
            let to = utf8.index(utf8.startIndex, offsetBy: min(offset, utf8.count))
            // Continuation bytes begin no code point.
            column = 1 + utf8[from..<to].reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
        }
        return SourcePosition(line: low + 1, column: column, offset: offset)
    }

    static func lines(of source: String) -> [Substring] {
        source.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map { Substring($0) }
    }
}

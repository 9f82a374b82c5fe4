/// Splits CSV text (RFC 4180) into records: quoted fields may hold separators, quotes (doubled) and line ends.
///
/// Takes the input in pieces, so that a file of any size is read in constant memory. Written here because a row that
/// is refused has to be reported with its line number and its exact text.
struct CSVParser {
    /// One record of the file.
    struct Record: Equatable {
        /// The number of the line it begins on, from 1.
        var line: Int
        var fields: [String]
        /// The text it was read from, without the line end.
        var text: String
    }

    /// A record that is no CSV.
    struct Malformed: Error, Equatable {
        var line: Int
        var reason: String
        var text: String
    }

    private enum State {
        case fieldStart
        case unquoted
        case quoted
        /// Behind the closing quote of a quoted field.
        case quoteEnd
    }

    /// The longest record that is taken, in bytes.
    private let maximumRecordBytes: Int
    private var state = State.fieldStart
    private var line = 1
    private var recordLine = 1
    private var field: [UInt8] = []
    private var fields: [String] = []
    private var text: [UInt8] = []
    private var fault: String?
    private var sawReturn = false
    private var isTooLong = false
    /// The first bytes of the input, until it is known whether they are a byte order mark.
    private var head: [UInt8]? = []
    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    init(maximumRecordBytes: Int = 1 << 20) {
        self.maximumRecordBytes = maximumRecordBytes
    }

    /// Takes the next piece of the input and hands every record that ends in it to `body`.
    mutating func feed(
        _ bytes: some Sequence<UInt8>,
        _ body: (Result<Record, Malformed>) throws -> Void
    ) rethrows {
        for byte in bytes {
            guard var start = head else {
                try process(byte, body)
                continue
            }
            start.append(byte)
            if start == Self.byteOrderMark {
                head = nil
            } else if Self.byteOrderMark.starts(with: start) {
                head = start
            } else {
                head = nil
                for byte in start { try process(byte, body) }
            }
        }
    }

    private mutating func process(
        _ byte: UInt8,
        _ body: (Result<Record, Malformed>) throws -> Void
    ) rethrows {
        if sawReturn {
            sawReturn = false
            if byte == .newline { return }
        }
        let endsRecord = (byte == .newline || byte == .carriageReturn) && state != .quoted
        if endsRecord {
            sawReturn = byte == .carriageReturn
            try emit(body)
            line += 1
            recordLine = line
        } else {
            if byte == .newline { line += 1 }
            take(byte)
        }
    }

    /// Says that the input is at its end; the last record need not end with a line end.
    mutating func finish(_ body: (Result<Record, Malformed>) throws -> Void) rethrows {
        let start = head ?? []
        head = nil
        for byte in start { try process(byte, body) }
        if state == .quoted { fault = fault ?? "a quoted field is not closed; add the closing quote" }
        if !text.isEmpty || fault != nil { try emit(body) }
    }

    private mutating func take(_ byte: UInt8) {
        // A record that is too long is still followed to its end, and no longer kept.
        if text.count < maximumRecordBytes { text.append(byte) } else { isTooLong = true }
        switch (state, byte) {
        case (.fieldStart, .quote): state = .quoted
        case (.fieldStart, .comma), (.unquoted, .comma), (.quoteEnd, .comma): endField()
        case (.fieldStart, _):
            state = .unquoted
            keep(byte)
        case (.unquoted, .quote):
            fault = fault ?? "a quote stands inside a field that does not begin with one; quote the whole field"
        case (.unquoted, _): keep(byte)
        case (.quoted, .quote): state = .quoteEnd
        case (.quoted, _): keep(byte)
        case (.quoteEnd, .quote):
            keep(byte)
            state = .quoted
        case (.quoteEnd, _):
            fault = fault ?? "text stands behind the closing quote of a field; double the quotes inside the field"
        }
    }

    private mutating func keep(_ byte: UInt8) {
        if !isTooLong { field.append(byte) }
    }

    private mutating func endField() {
        if let value = String(validating: field, as: UTF8.self) {
            fields.append(value)
        } else {
            fields.append("")
            fault = fault ?? "a field is not UTF-8; convert the file"
        }
        field.removeAll(keepingCapacity: true)
        state = .fieldStart
    }

    private mutating func emit(_ body: (Result<Record, Malformed>) throws -> Void) rethrows {
        defer {
            state = .fieldStart
            field.removeAll(keepingCapacity: true)
            fields.removeAll(keepingCapacity: true)
            text.removeAll(keepingCapacity: true)
            fault = nil
            isTooLong = false
        }
        if text.isEmpty && fault == nil { return }  // an empty line
        endField()
        if isTooLong { fault = "the record is longer than \(maximumRecordBytes) bytes" }
        let source = String(decoding: text, as: UTF8.self)
        if let fault {
            // One quote too many makes a record of many lines: say which.
            let span = line > recordLine ? " (it goes on to line \(line))" : ""
            try body(.failure(Malformed(line: recordLine, reason: fault + span, text: source)))
        } else {
            try body(.success(Record(line: recordLine, fields: fields, text: source)))
        }
    }
}

extension UInt8 {
    fileprivate static let newline = UInt8(ascii: "\n")
    fileprivate static let carriageReturn = UInt8(ascii: "\r")
    fileprivate static let quote = UInt8(ascii: "\"")
    fileprivate static let comma = UInt8(ascii: ",")
}

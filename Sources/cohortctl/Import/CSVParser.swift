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
    private var isStart = true

    init(maximumRecordBytes: Int = 1 << 20) {
        self.maximumRecordBytes = maximumRecordBytes
    }

    /// Takes the next piece of the input and hands every record that ends in it to `body`.
    mutating func feed(
        _ bytes: some Sequence<UInt8>,
        _ body: (Result<Record, Malformed>) throws -> Void
    ) rethrows {
        for byte in bytes {
            if sawReturn {
                sawReturn = false
                if byte == .newline { continue }
            }
            let endsRecord = (byte == .newline || byte == .carriageReturn) && state != .quoted
            if byte == .newline { line += 1 }
            if endsRecord {
                sawReturn = byte == .carriageReturn
                if byte == .carriageReturn { line += 1 }
                try emit(body)
            } else {
                take(byte)
            }
        }
    }

    /// Says that the input is at its end; the last record need not end with a line end.
    mutating func finish(_ body: (Result<Record, Malformed>) throws -> Void) rethrows {
        if state == .quoted { fault = fault ?? "a quoted field is not closed; add the closing quote" }
        if !text.isEmpty || fault != nil { try emit(body) }
    }

    private mutating func take(_ byte: UInt8) {
        if text.count >= maximumRecordBytes {
            fault = fault ?? "the record is longer than \(maximumRecordBytes) bytes"
            return
        }
        text.append(byte)
        switch (state, byte) {
        case (.fieldStart, .quote): state = .quoted
        case (.fieldStart, .comma), (.unquoted, .comma), (.quoteEnd, .comma): endField()
        case (.fieldStart, _):
            state = .unquoted
            field.append(byte)
        case (.unquoted, .quote):
            fault = fault ?? "a quote stands inside a field that does not begin with one; quote the whole field"
        case (.unquoted, _): field.append(byte)
        case (.quoted, .quote): state = .quoteEnd
        case (.quoted, _): field.append(byte)
        case (.quoteEnd, .quote):
            field.append(byte)
            state = .quoted
        case (.quoteEnd, _):
            fault = fault ?? "text stands behind the closing quote of a field; double the quotes inside the field"
        }
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
            recordLine = line
            isStart = false
        }
        if text.isEmpty && fault == nil { return }  // an empty line
        if isStart && text.starts(with: [0xEF, 0xBB, 0xBF]) {
            // A byte order mark; only the first, unquoted field can hold it.
            text.removeFirst(3)
            if fields.isEmpty { field.removeFirst(3) } else { fields[0].unicodeScalars.removeFirst() }
        }
        endField()
        let source = String(decoding: text, as: UTF8.self)
        if let fault {
            try body(.failure(Malformed(line: recordLine, reason: fault, text: source)))
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

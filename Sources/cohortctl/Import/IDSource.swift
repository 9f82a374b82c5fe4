import Foundation

/// The customer ids of a file, in order and in constant memory: the first field of each record, or with a header the
/// column that is asked for.
struct IDSource {
    private let file: FileHandle
    private let column: String?
    private var parser = CSVParser()
    private var index: Int?
    private var isAtEnd = false
    private(set) var bytesRead = 0
    private(set) var lines = LineNumbers()

    /// - Parameter column: The name of a column; nil for the first one of a file without a header.
    init(file: FileHandle, column: String?) {
        self.file = file
        self.column = column
        index = column == nil ? 0 : nil
    }

    /// The next ids, empty at the end.
    ///
    /// - Throws: ``CommandFailure`` for a line that is no CSV, or a header without the column: what follows could be
    ///   taken for what it is not.
    mutating func next() throws -> [String] {
        var ids: [String] = []
        while ids.isEmpty && !isAtEnd {
            var results: [Result<CSVParser.Record, CSVParser.Malformed>] = []
            if let piece = try file.read(upToCount: 1 << 16), !piece.isEmpty {
                bytesRead += piece.count
                parser.feed(piece) { results.append($0) }
            } else {
                isAtEnd = true
                parser.finish { results.append($0) }
            }
            for result in results { try take(result, &ids) }
        }
        if isAtEnd && index == nil { throw CommandFailure.failed("the file is empty; --column needs a header line") }
        return ids
    }

    private mutating func take(_ result: Result<CSVParser.Record, CSVParser.Malformed>, _ ids: inout [String]) throws {
        let record: CSVParser.Record
        switch result {
        case .success(let good): record = good
        case .failure(let fault):
            throw CommandFailure.failed("line \(fault.line): \(fault.reason); nothing was changed")
        }
        guard let index else {
            self.index = try place(in: record.fields)
            return
        }
        guard index < record.fields.count else {
            throw CommandFailure.failed(
                "line \(record.line): has \(record.fields.count) fields, and the id is field \(index + 1); nothing was changed"
            )
        }
        ids.append(record.fields[index])
        lines.append(record.line)
    }

    private func place(in header: [String]) throws -> Int {
        if let found = header.firstIndex(where: { $0 == column }) { return found }
        let nearest = NearestName.of(column ?? "", among: header)
        let hint = nearest.map { "did you mean '\($0)'?" } ?? "the header has \(header.joined(separator: ", "))"
        throw CommandFailure.failed("--column: there is no column '\(column ?? "")'; \(hint)")
    }
}

/// On which line of a file each of its ids stands. Most stand on consecutive ones, so only where that breaks is kept.
struct LineNumbers {
    private var count = 0
    /// The first id of each stretch of consecutive lines, and its line.
    private var stretches: [(position: Int, line: Int)] = []

    mutating func append(_ line: Int) {
        if stretches.last.map({ $0.line + count - $0.position }) != line { stretches.append((count, line)) }
        count += 1
    }

    /// The line of the id at this place, from 1; nil where there is none.
    subscript(position: Int) -> Int? {
        guard position < count else { return nil }
        return stretches.last { $0.position <= position }.map { $0.line + position - $0.position }
    }
}

import CohortAPI
import Foundation

/// One row of an input file, made ready or refused.
struct ImportRow {
    /// The line of the file, from 1.
    var line: Int
    /// As it stands in the file.
    var text: String
    /// The request, or why the row cannot be one.
    var content: Result<PutCustomerRequest, AttributeText.Fault>
}

/// Reads the rows of a file, in order, in constant memory.
protocol RowSource {
    /// The header line of the rejects file, where the format has one.
    var header: String? { get }
    /// The next rows, empty at the end.
    mutating func next() throws -> [ImportRow]
    /// Bytes read so far.
    var bytesRead: Int { get }
}

/// Rows of a CSV file whose first record names the columns.
struct CSVRowSource: RowSource {
    private let file: FileHandle
    private let mapping: RowMapping
    private var parser = CSVParser()
    private var roles: [RowMapping.Role]?
    private(set) var header: String?
    private(set) var bytesRead = 0
    private var isAtEnd = false

    init(file: FileHandle, mapping: RowMapping) {
        self.file = file
        self.mapping = mapping
    }

    /// - Throws: ``CommandFailure`` when the header cannot be used.
    mutating func next() throws -> [ImportRow] {
        var rows: [ImportRow] = []
        while rows.isEmpty && !isAtEnd {
            var results: [Result<CSVParser.Record, CSVParser.Malformed>] = []
            if let piece = try file.read(upToCount: 1 << 16), !piece.isEmpty {
                bytesRead += piece.count
                parser.feed(piece) { results.append($0) }
            } else {
                isAtEnd = true
                parser.finish { results.append($0) }
            }
            for result in results {
                guard let roles else {
                    try takeHeader(result)
                    continue
                }
                rows.append(row(result, roles))
            }
        }
        if isAtEnd && roles == nil { throw CommandFailure.failed("the file is empty; it needs a header line") }
        return rows
    }

    private mutating func takeHeader(_ result: Result<CSVParser.Record, CSVParser.Malformed>) throws {
        switch result {
        case .success(let record):
            try mapping.check(header: record.fields)
            roles = try record.fields.map { try mapping.role(of: $0) }
            header = record.text
        case .failure(let fault): throw CommandFailure.failed("the header (line \(fault.line)): \(fault.reason)")
        }
    }

    private func row(_ result: Result<CSVParser.Record, CSVParser.Malformed>, _ roles: [RowMapping.Role]) -> ImportRow {
        switch result {
        case .success(let record):
            return ImportRow(line: record.line, text: record.text, content: Self.request(record.fields, roles))
        case .failure(let fault):
            return ImportRow(line: fault.line, text: fault.text, content: .failure("\(fault.reason)"))
        }
    }

    private static func request(
        _ fields: [String],
        _ roles: [RowMapping.Role]
    ) -> Result<PutCustomerRequest, AttributeText.Fault> {
        guard fields.count == roles.count else {
            return .failure("has \(fields.count) fields where the header has \(roles.count)")
        }
        var request = PutCustomerRequest()
        for (field, role) in zip(fields, roles) {
            switch role {
            case .ignored: continue
            case .id: request.customerID = field
            case .eventTime:
                switch AttributeText.parseTime(field) {
                case .success(let time): request.eventTime = time
                case .failure(let fault): return .failure("event time: \(fault.text)")
                }
            case .attribute(let name, let type):
                // An empty cell says nothing about the attribute.
                if field.isEmpty { continue }
                switch AttributeText.parse(field, as: type) {
                case .success(let value): request.attributes[name] = value
                case .failure(let fault): return .failure("\(name): \(fault.text)")
                }
            }
        }
        return .success(request)
    }
}

import CohortAPI
import Foundation
import SwiftProtobuf

/// Rows of a file with one JSON object a line: the members are the columns, `null` deletes the attribute.
struct NDJSONRowSource: RowSource {
    private let file: FileHandle
    private let mapping: RowMapping
    private let maximumLineBytes: Int
    private var buffer = Data()
    private var line = 0
    private(set) var bytesRead = 0
    private var isAtEnd = false
    /// The rest of a line that was too long is passed over.
    private var isSkipping = false

    let header: String? = nil

    init(file: FileHandle, mapping: RowMapping, maximumLineBytes: Int = 1 << 20) {
        self.file = file
        self.mapping = mapping
        self.maximumLineBytes = maximumLineBytes
    }

    mutating func next() throws -> [ImportRow] {
        var rows: [ImportRow] = []
        while rows.isEmpty && !isAtEnd {
            if let piece = try file.read(upToCount: 1 << 16), !piece.isEmpty {
                bytesRead += piece.count
                buffer.append(piece)
            } else {
                isAtEnd = true
                if !buffer.isEmpty { buffer.append(UInt8(ascii: "\n")) }
            }
            while let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let text = Data(buffer[buffer.startIndex..<end])
                buffer = Data(buffer[buffer.index(after: end)...])
                line += 1
                if isSkipping {
                    isSkipping = false
                    continue
                }
                if let row = row(text) { rows.append(row) }
            }
            if buffer.count > maximumLineBytes {
                if !isSkipping {
                    rows.append(
                        ImportRow(
                            line: line + 1,
                            text: String(decoding: buffer.prefix(200), as: UTF8.self),
                            content: .failure("the line is longer than \(maximumLineBytes) bytes")
                        )
                    )
                }
                isSkipping = true
                buffer.removeAll()
            }
        }
        return rows
    }

    private func row(_ data: Data) -> ImportRow? {
        let text = String(decoding: data, as: UTF8.self)
        if text.allSatisfy(\.isWhitespace) { return nil }
        return ImportRow(line: line, text: text, content: request(data))
    }

    private func request(_ data: Data) -> Result<PutCustomerRequest, AttributeText.Fault> {
        let members: [String: JSONScalar]
        do {
            members = try JSONDecoder().decode([String: JSONScalar].self, from: data)
        } catch {
            return .failure("is no JSON object of texts, numbers, booleans, lists of texts and nulls")
        }
        var request = PutCustomerRequest()
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            let role: RowMapping.Role
            do { role = try mapping.role(of: name) } catch let failure as CommandFailure {
                return .failure("\(failure.message)")
            } catch { return .failure("\(error)") }
            switch role {
            case .ignored: continue
            case .id:
                guard case .string(let id) = value else { return .failure("\(name): the customer id is no text") }
                request.customerID = id
            case .eventTime:
                guard case .string(let time) = value else {
                    return .failure("\(name): the event time is no text; write it as \"2026-03-01T12:00:00Z\"")
                }
                switch AttributeText.parseTime(time) {
                case .success(let time): request.eventTime = time
                case .failure(let fault): return .failure("\(name): \(fault.text)")
                }
            case .attribute(let attribute, let type):
                switch value.attribute(type) {
                case .success(let value): request.attributes[attribute] = value
                case .failure(let fault): return .failure("\(attribute): \(fault.text)")
                }
            }
        }
        return .success(request)
    }
}

/// The JSON values that an attribute can have.
enum JSONScalar: Decodable {
    case null
    case bool(Bool)
    case int(Int64)
    case double(Double)
    case string(String)
    case strings([String])

    init(from decoder: any Swift.Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .int(value)
        } else if let value = try? container.decode(Double.self) {
            self = .double(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else {
            self = .strings(try container.decode([String].self))
        }
    }

    /// The value as an attribute of `type`.
    func attribute(_ type: AttributeType) -> Result<AttributeValue, AttributeText.Fault> {
        switch (self, type) {
        case (.null, _): .success(.with { $0.nullValue = .nullValue })
        case (.bool(let value), .bool): .success(.with { $0.boolValue = value })
        case (.int(let value), .int64): .success(.with { $0.int64Value = value })
        case (.int(let value), .double): .success(.with { $0.doubleValue = Double(value) })
        case (.double(let value), .double): .success(.with { $0.doubleValue = value })
        case (.string(let value), .string): .success(.with { $0.stringValue = value })
        case (.string(let value), .timestamp):
            AttributeText.parseTime(value).map { time in .with { $0.timestampValue = time } }
        case (.strings(let values), .stringList): .success(.with { $0.stringListValue.values = values })
        default: .failure("the value is no \(AttributeTypeName(type)?.rawValue ?? "value of a known type")")
        }
    }
}

import CEL
import Testing

@Suite struct RuleTests {
    static let schema = RecordSchema(
        name: "Customer",
        fields: [
            .init(name: "daily_spend", type: .double), .init(name: "user_type", type: .string),
            .init(name: "tags", type: .list(.string)), .init(name: "age", type: .int),
            .init(name: "last_seen", type: .timestamp), .init(name: "blocked", type: .bool),
        ]
    )
    static let environment = Environment(record: schema, named: "customer")
    static let sample =
        #"customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == "PAID")"#

    @Test func sampleRule() throws {
        let program = try Self.environment.compile(Self.sample)
        #expect(program.slots == [0, 1])
        #expect(program.attributes == ["daily_spend", "user_type"])
        #expect(program.evaluate([.double(5_001)]) == .match)
        #expect(program.evaluate([.double(3_001), .string("PAID")]) == .match)
        #expect(program.evaluate([.double(3_001), .string("FREE")]) == .noMatch)
        #expect(program.evaluate([.double(3_000), .string("PAID")]) == .noMatch)
        guard case .error(let error) = program.evaluate([.double(3_001)]) else {
            Issue.record("an absent attribute is an error")
            return
        }
        #expect(error.code == .attributeAbsent)
        #expect(error.attribute == "user_type")
        #expect(error.position.column == 77)
    }
}

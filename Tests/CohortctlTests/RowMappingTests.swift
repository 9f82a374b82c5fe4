import CohortAPI
import SwiftProtobuf
import Testing

@testable import cohortctl

@Suite("Columns")
struct RowMappingTests {
    private let mapping = RowMapping(
        idColumn: "customer_id",
        eventTimeColumn: "date",
        renamed: ["amount_usd": "daily_spend"],
        ignored: ["items"],
        types: ["daily_spend": .double, "user_type": .string]
    )

    @Test("Each column becomes what the options say")
    func roles() throws {
        #expect(try mapping.role(of: "customer_id") == .id)
        #expect(try mapping.role(of: "date") == .eventTime)
        #expect(try mapping.role(of: "items") == .ignored)
        #expect(try mapping.role(of: "amount_usd") == .attribute("daily_spend", .double))
        #expect(try mapping.role(of: "user_type") == .attribute("user_type", .string))
    }

    @Test("An unknown column is refused with the nearest attribute and what to do")
    func unknown() throws {
        let error = #expect(throws: CommandFailure.self) { try mapping.role(of: "user_typ") }
        #expect(error?.message.contains("did you mean 'user_type'?") == true)
        #expect(error?.message.contains("--ignore user_typ") == true)
    }

    @Test("An option that names no column is refused with the nearest column")
    func header() throws {
        try mapping.check(header: ["customer_id", "date", "items", "amount_usd"])
        let missing = #expect(throws: CommandFailure.self) {
            try mapping.check(header: ["customer_id", "date", "items", "amount_us"])
        }
        #expect(missing?.message == "--map: there is no column 'amount_usd'; did you mean 'amount_us'?")
        let twice = #expect(throws: CommandFailure.self) {
            try mapping.check(header: ["customer_id", "date", "date", "items", "amount_usd"])
        }
        #expect(twice?.message.contains("stands twice") == true)
    }
}

@Suite("Attribute texts")
struct AttributeTextTests {
    @Test("Texts of every type")
    func values() throws {
        #expect(try AttributeText.parse("true", as: .bool).get().boolValue)
        #expect(try AttributeText.parse("-42", as: .int64).get().int64Value == -42)
        #expect(try AttributeText.parse("1e3", as: .double).get().doubleValue == 1000)
        #expect(try AttributeText.parse("PAID", as: .string).get().stringValue == "PAID")
        #expect(try AttributeText.parse("1997-01-01", as: .timestamp).get().timestampValue.seconds == 852_076_800)
        #expect(try AttributeText.parse("a;b", as: .stringList).get().stringListValue.values == ["a", "b"])
        #expect(try AttributeText.parse("", as: .stringList).get().stringListValue.values.isEmpty)
    }

    @Test(
        "What is no value of the type is refused",
        arguments: [
            ("maybe", AttributeType.bool), ("1.5", .int64), ("9223372036854775808", .int64), ("many", .double),
            ("1997-13-01", .timestamp), ("yesterday", .timestamp), ("1997-01-01\"", .timestamp),
        ]
    )
    func faults(text: String, type: AttributeType) {
        #expect(throws: AttributeText.Fault.self) { try AttributeText.parse(text, as: type).get() }
    }
}

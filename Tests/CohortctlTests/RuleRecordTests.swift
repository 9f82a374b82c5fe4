import CEL
import Testing

@testable import cohortctl

@Suite("Customers on the command line")
struct RuleRecordTests {
    @Test("Types are read off the values, or said")
    func types() throws {
        let record = try RuleRecord([
            "a=true", "b=42", "c=4.2", "d=2026-03-01T00:00:00Z", "e=x;y", "f=text", "g:double=4", "h:int64", "i=",
        ])
        let types = record.fields.prefix(9).map(\.type)
        #expect(
            types == [
                .bool, .int, .double, .timestamp, .list(.string), .string, .double, .int, .string,
            ]
        )
        #expect(record.values[1] == .int(42) && record.values[6] == .double(4))
        guard case .absent = record.values[7] else {
            Issue.record("h is declared and absent")
            return
        }
        #expect(record.fields.map(\.name).suffix(2) == ["daily_spend", "user_type"])
    }

    @Test("What is no attribute is refused", arguments: ["", "=1", "a", "a:colour=red", "a:int64=x"])
    func refusals(argument: String) {
        #expect(throws: CommandFailure.self) { try RuleRecord([argument]) }
    }

    @Test("A name is given once")
    func twice() {
        #expect(throws: CommandFailure.self) { try RuleRecord(["a=1", "a=2"]) }
    }
}

@Suite("Cohorts of a customer on the command line")
struct RuleCohortsTests {
    @Test("Cohorts are IN, UNKNOWN or else OUT, each with a number of its own")
    func values() throws {
        let cohorts = try RuleCohorts(memberOf: ["A", "A"], unknown: ["C"])
        #expect(try cohorts.number(of: "C") == 0)
        #expect(try cohorts.number(of: "B") == 1)
        #expect(try cohorts.number(of: "A") == 2)
        #expect(try cohorts.number(of: "C") == 0)
        #expect(cohorts.values == [.unknown, .no, .yes])
        #expect(cohorts.text == "UNKNOWN in C, OUT of B, IN A")
        #expect(throws: LookupRefusal.self) { try cohorts.number(of: "lower") }
    }

    @Test("What is no id, or is given both ways, is refused")
    func refusals() {
        #expect(throws: CommandFailure.self) { try RuleCohorts(memberOf: ["fraud"], unknown: []) }
        #expect(throws: CommandFailure.self) { try RuleCohorts(memberOf: [], unknown: [""]) }
        #expect(throws: CommandFailure.self) { try RuleCohorts(memberOf: ["A"], unknown: ["A"]) }
    }
}

import Testing

@testable import CEL

/// Numbers compare exactly, whatever their types.
@Suite struct OrderingTests {
    /// A number as a sign, an integer part and whether something follows the point: exact, and built another way.
    struct Exact {
        var whole: Int128
        var fraction: Double

        static func < (a: Exact, b: Exact) -> Bool {
            a.whole != b.whole ? a.whole < b.whole : a.fraction < b.fraction
        }
    }

    static func exact(_ value: Value) -> Exact? {
        switch value {
        case .int(let i): return Exact(whole: Int128(i), fraction: 0)
        case .uint(let u): return Exact(whole: Int128(u), fraction: 0)
        case .double(let d):
            guard d.isFinite, d.magnitude < 1e30 else { return nil }
            let floor = d.rounded(.down)
            return Exact(whole: Int128(floor), fraction: d - floor)
        default: return nil
        }
    }

    /// The two pairs that the conformance tests want to be equal though they are not.
    static func isBoundary(_ a: Value, _ b: Value) -> Bool {
        switch (a, b) {
        case (.int(.max), .double(0x1p63)), (.double(0x1p63), .int(.max)): true
        case (.uint(.max), .double(0x1p64)), (.double(0x1p64), .uint(.max)): true
        default: false
        }
    }

    static var values: [Value] {
        var random = Random(11)
        var values: [Value] = []
        for power in [0, 1, 10, 31, 32, 52, 53, 54, 60, 62, 63, 64] {
            let d = Double(sign: .plus, exponent: power, significand: 1)
            for d in [d, d.nextUp, d.nextDown, d - 0.5, d + 0.5, d - 1, d + 1] {
                values += [.double(d), .double(-d)]
                for offset in -2...2 as ClosedRange<Int64> {
                    if let i = Int64(exactly: d.rounded()) {
                        let (sum, overflow) = i.addingReportingOverflow(offset)
                        if !overflow { values += [.int(sum), .int(0 &- sum)] }
                    }
                    if let u = UInt64(exactly: d.rounded()), u > 4 {
                        values.append(.uint(u &+ UInt64(bitPattern: offset)))
                    }
                }
            }
        }
        for _ in 0..<200 {
            values += [.int(Int64(bitPattern: random.next())), .uint(random.next())]
            values.append(.double(Double(Int64(bitPattern: random.next()))))
        }
        return values + [.int(.min), .int(.max), .uint(.max), .uint(0), .double(0), .double(-0.0)]
    }

    @Test func orderIsExact() {
        let values = Self.values
        var evaluation = Evaluation(budget: .max, limits: .default, host: nil)
        var random = Random(12)
        var compared = 0
        for a in values {
            for _ in 0..<40 {
                let b = random.pick(values)
                guard let x = Self.exact(a), let y = Self.exact(b) else { continue }
                compared += 1
                let expected = Self.isBoundary(a, b) ? 0 : x < y ? -1 : y < x ? 1 : 0
                guard case .ordered(let order)? = Ordering.order(a, b, &evaluation) else {
                    Issue.record("\(a) and \(b) have no order")
                    continue
                }
                let isEqual = Ordering.equal(a, b, &evaluation)
                if order.signum() != expected || isEqual != (expected == 0) {
                    Issue.record("\(a) and \(b) are in the order \(order), equal \(isEqual)")
                }
            }
        }
        #expect(compared > 20_000)
    }

    @Test func nothingIsOrderedWithNaN() throws {
        let environment = Environment(variables: [VariableDeclaration(name: "n", type: .double)])
        for source in ["n < 1", "n > 1", "n <= n", "n >= 0u", "n == n", "1.0 < n"] {
            #expect(try environment.compile(source).evaluate([.double(.nan)]) == .noMatch, "\(source)")
        }
        #expect(try environment.compile("n != n").evaluate([.double(.nan)]) == .match)
    }

    @Test func stringsCompareByCodePoints() throws {
        let environment = Environment(variables: [])
        func holds(_ source: String) throws -> Bool { try environment.compile(source).evaluate([]) == .match }
        #expect(try holds(#"'e\u0301' != '\u00e9'"#))
        #expect(try holds(#"size('e\u0301') == 2 && size('🐱') == 1 && size('👨‍👩‍👧') == 5"#))
        #expect(try holds(#"{'e\u0301': 1, '\u00e9': 2}.size() == 2"#))
        #expect(try holds(#"'\uffff' < '\U00010000'"#), "not by UTF-16")
        #expect(try holds(#"'abc'.contains('') && 'é'.startsWith('é') && !'e\u0301x'.startsWith('\u00e9')"#))
    }
}

import CohortCore

/// The stated workload: 36-byte ids, 5 attributes, 20 cohorts, 4 memberships a customer on average, 5 % UNKNOWN in one
/// cohort. Everything follows from a customer's number, so that a run needs no list of ids.
enum Workload {
    static let context = WriteContext(principal: "bench", method: "bench")

    static let attributes: [(name: String, type: AttributeType)] = [
        ("visits", .int64), ("score", .int64), ("last_seen", .timestamp),
    ]

    static let cohorts: [CohortDefinition] = (0..<20).map { i in
        let rule =
            switch i {
            case 0..<10:
                "customer.daily_spend >= \(i * 80).0 && customer.daily_spend < \(i * 80 + 200).0"
            case 10..<15: "customer.user_type == \"T\(i - 10)\""
            case 15..<19: "customer.visits % 5 == \(i - 15)"
            default: "customer.score >= 79"
            }
        return CohortDefinition(id: "COHORT_\(i)", kind: .rule, rule: rule)
    }

    static func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// The id of the customer that arrives as `number`-th: in the form of a UUID that ends in 12 digits, as
    /// redis-benchmark can make them too. The digits are 0 to `customers` - 1 in a scattered order.
    static func id(_ number: Int, of customers: Int) -> String {
        // A prime that is no divisor of any count that is measured: it meets every number once.
        let place = String(number % customers * 2_654_435_761 % customers)
        return "00000000-0000-4000-8000-" + String(repeating: "0", count: 12 - place.count) + place
    }

    private static let types = (0..<5).map { "T\($0)" }

    static func put(_ number: Int, of customers: Int, round: UInt64 = 0) -> CustomerPut {
        let random = mix(UInt64(number) &* 31 &+ round &* 0x1234_5678_9ABC)
        var attributes: [(name: String, value: AttributeValue?)] = [
            ("daily_spend", .double(Double(random % 100_000) / 100)),
            ("user_type", .string(types[Int(random >> 20 % 5)])),
            ("visits", .int64(Int64(random >> 32 & 0xffff))),
        ]
        if number % 20 != 7 { attributes.append(("score", .int64(Int64(mix(random) % 100)))) }
        if let seen = Timestamp(seconds: 1_700_000_000 + Int64(random & 0xfffff)) {
            attributes.append(("last_seen", .timestamp(seen)))
        }
        return CustomerPut(customerID: id(number, of: customers), attributes: attributes)
    }

    /// One attribute of an existing customer.
    static func update(_ number: Int, of customers: Int, round: UInt64) -> CustomerPut {
        let random = mix(UInt64(number) &* 77 &+ round)
        return CustomerPut(
            customerID: id(number, of: customers),
            attributes: [("daily_spend", .double(Double(random % 100_000) / 100))]
        )
    }
}

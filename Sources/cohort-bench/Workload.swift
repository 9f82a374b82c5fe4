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

    /// In the form of a UUID, so that the order of arrival is random in the ids.
    static func id(_ number: Int) -> String {
        let (a, b) = (mix(UInt64(number)), mix(UInt64(number) ^ 0x5555_5555_5555_5555))
        let hex = Array("0123456789abcdef".utf8)
        return String(unsafeUninitializedCapacity: 36) { buffer in
            var digit = 0
            for i in 0..<36 {
                if i == 8 || i == 13 || i == 18 || i == 23 {
                    buffer[i] = 45
                } else {
                    let word = digit < 16 ? a : b
                    buffer[i] = hex[Int(word >> UInt64((digit & 15) * 4) & 15)]
                    digit += 1
                }
            }
            return 36
        }
    }

    private static let types = (0..<5).map { "T\($0)" }

    static func put(_ number: Int, round: UInt64 = 0) -> CustomerPut {
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
        return CustomerPut(customerID: id(number), attributes: attributes)
    }

    /// One attribute of an existing customer.
    static func update(_ number: Int, round: UInt64) -> CustomerPut {
        let random = mix(UInt64(number) &* 77 &+ round)
        return CustomerPut(
            customerID: id(number),
            attributes: [("daily_spend", .double(Double(random % 100_000) / 100))]
        )
    }
}

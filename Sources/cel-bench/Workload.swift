import CEL

/// The rules and records that are measured.
enum Workload {
    static let schema = RecordSchema(
        name: "Customer",
        fields: [
            .init(name: "daily_spend", type: .double), .init(name: "user_type", type: .string),
            .init(name: "tags", type: .list(.string)), .init(name: "age", type: .int),
            .init(name: "country", type: .string), .init(name: "orders", type: .int),
            .init(name: "blocked", type: .bool), .init(name: "score", type: .double),
        ]
    )

    static let functions = [
        FunctionDeclaration(name: "in_cohort", parameters: [.string], result: .bool, literalParameters: [0])
    ]

    final class Host: HostFunctions {
        func call(_ function: Int, site: Int, arguments: UnsafeBufferPointer<Value>) -> Value { .bool(site == 0) }
    }

    /// Two and seven terms; the last term of the latter goes through five tags.
    static let rules = [
        (
            "sample rule",
            #"customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == "PAID")"#
        ),
        (
            "seven terms",
            #"customer.daily_spend > 100.0 && customer.age >= 18 && customer.age < 100 && !customer.blocked "#
                + #"&& customer.orders > 0 && customer.country in ["DE", "FR", "NL"] "#
                + #"&& customer.tags.exists(t, t == "subscriber")"#
        ),
        (
            "seven terms, any loop",
            #"customer.daily_spend > 100.0 && customer.age >= 18 && customer.age < 100 && !customer.blocked "#
                + #"&& customer.orders > 0 && customer.country in ["DE", "FR", "NL"] "#
                + #"&& customer.tags.exists(t, t.startsWith("subs"))"#
        ),
        ("absent attribute", #"customer.daily_spend > 100.0 && customer.score > 3.0"#),
        ("arithmetic", #"customer.daily_spend * 1.19 + 3.5 < 4000.0 && customer.age % 2 == 0"#),
    ]

    /// 1,024 customers, so that branches are not all foreseen. All pass the first six of the seven terms, and the tag
    /// that is looked for is each one's last or missing.
    static let records: [[Value]] = (0..<1_024).map { number in
        let mixed = number &* 2_654_435_761 % 1_000_003
        let last = mixed % 2 == 0 ? "subscriber" : "lapsed"
        return [
            .double(101 + Double(mixed % 6_000)), .string(mixed % 3 == 0 ? "PAID" : "FREE"),
            .list(["new", "newsletter", "trial-2024-spring", "mobile", last].map { .string($0) }),
            .int(Int64(18 + mixed % 80)), .string(["DE", "FR", "NL"][mixed % 3]), .int(Int64(1 + mixed % 50)),
            .bool(false),
        ]
    }
}

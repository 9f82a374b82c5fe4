import CEL

@main
enum Bench {
    static func main() {
        let schema = RecordSchema(
            name: "Customer",
            fields: [
                .init(name: "daily_spend", type: .double), .init(name: "user_type", type: .string),
                .init(name: "tags", type: .list(.string)), .init(name: "age", type: .int),
                .init(name: "country", type: .string), .init(name: "orders", type: .int),
                .init(name: "blocked", type: .bool),
            ]
        )
        let environment = Environment(record: schema, named: "customer")
        let sample =
            #"customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == "PAID")"#
        let seven =
            #"customer.daily_spend > 100.0 && customer.age >= 18 && customer.age < 65 && !customer.blocked && customer.orders > 3 && customer.country in ["DE", "FR", "NL"] && customer.tags.exists(t, t == "vip")"#
        let record: [Value] = [
            .double(3_500), .string("PAID"),
            .list([.string("new"), .string("newsletter"), .string("trial"), .string("mobile"), .string("vip")]),
            .int(40), .string("FR"), .int(7), .bool(false),
        ]
        let clock = ContinuousClock()
        for (name, source, count) in [("sample", sample, 400_000), ("seven", seven, 100_000)] {
            guard let program = try? environment.compile(source) else { return }
            var matches = 0
            for round in 0..<15 {
                matches = 0
                let time = clock.measure {
                    for _ in 0..<count where program.evaluate(record) == .match { matches += 1 }
                }
                print(
                    name,
                    round,
                    Double(time.components.attoseconds) / 1e9 / Double(count) + Double(time.components.seconds) * 1e9
                        / Double(count),
                    "ns",
                    matches
                )
            }
            let compile = clock.measure { for _ in 0..<10_000 { _ = try? environment.compile(source) } }
            print(name, "compile", compile / 10_000)
        }
    }
}

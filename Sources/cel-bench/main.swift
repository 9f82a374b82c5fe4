import CEL

let schema = RecordSchema(
    name: "Customer",
    fields: [
        .init(name: "daily_spend", type: .double), .init(name: "user_type", type: .string),
        .init(name: "tags", type: .list(.string)),
    ]
)
let environment = Environment(record: schema, named: "customer")
for source in CommandLine.arguments.dropFirst() {
    do throws(CompilationError) {
        let program = try environment.compile(source)
        print(
            program.evaluate([.double(3_500), .string("PAID"), .list([.string("a"), .string("vip")])]),
            program.worstCaseCost
        )
    } catch {
        print(error.rendered)
    }
}

import CEL
import Foundation
import Testing

/// The cases of cel-spec's tests/simple/testdata, from the file that `CEL_CONFORMANCE` names or from `../shared/data`.
@Suite struct CELConformance {
    static let path: String = {
        if let path = ProcessInfo.processInfo.environment["CEL_CONFORMANCE"] { return path }
        var root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        for _ in 0..<3 { root.deleteLastPathComponent() }
        return root.deletingLastPathComponent().appendingPathComponent("shared/data/cel-conformance.json").path
    }()

    static func cases() throws -> [[String: Any]] {
        // Where the file is named but missing, this throws and the test fails.
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        let file = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        return try #require(file["tests"] as? [[String: Any]])
    }

    static var isPresent: Bool {
        if ProcessInfo.processInfo.environment["CEL_CONFORMANCE"] != nil { return true }
        if FileManager.default.fileExists(atPath: path) { return true }
        print(
            "CELConformance skipped: set CEL_CONFORMANCE to the file of cases, or put it at ../shared/data/cel-conformance.json"
        )
        return false
    }

    @Test(.enabled(if: CELConformance.isPresent, "no file of conformance cases"), arguments: ["core", "ext"])
    func conforms(tier: String) throws {
        var passed = 0
        var failures: [String] = []
        for test in try Self.cases() where test["tier"] as? String == tier {
            let id = test["id"] as? String ?? "?"
            if let failure = ConformanceCase(test).run() {
                failures.append("\(id): \(test["expr"] as? String ?? ""): \(failure)")
            } else {
                passed += 1
            }
        }
        print("CELConformance \(tier): \(passed) of \(passed + failures.count) pass")
        for failure in failures { Issue.record(Comment(rawValue: failure)) }
        #expect(passed > 0)
    }
}

/// One case.
struct ConformanceCase {
    let test: [String: Any]

    init(_ test: [String: Any]) {
        self.test = test
    }

    /// What differs from the expectation; nil where nothing does.
    func run() -> String? {
        guard let source = test["expr"] as? String, let expected = test["expected"] as? [String: Any] else {
            return "malformed case"
        }
        let bindings = test["bindings"] as? [String: Any] ?? [:]
        var (variables, functions) = declarations()
        for name in bindings.keys.sorted() where !variables.contains(where: { $0.name == name }) {
            variables.append(VariableDeclaration(name: name, type: .dyn))
        }
        var limits = Limits()
        limits.literalPatternsOnly = false
        limits.comprehensionNesting = 8
        let environment = Environment(
            variables: variables,
            functions: functions,
            container: test["container"] as? String ?? "",
            isChecked: !(test["disable_check"] as? Bool ?? false),
            limits: limits
        )
        do throws(CompilationError) {
            let program = try environment.compile(source)
            if let type = expected["type"] as? [String: Any], Self.type(type) != program.resultType {
                return "has type \(program.resultType), not \(Self.type(type))"
            }
            if test["check_only"] as? Bool == true { return nil }
            var record: [Value] = []
            for variable in variables {
                guard let binding = bindings[variable.name] else {
                    record.append(.absent)
                    continue
                }
                guard let value = Self.value(binding) else { return "malformed binding" }
                record.append(value)
            }
            return compare(program, record, expected)
        } catch {
            return "does not compile: \(error.rendered)"
        }
    }

    private func compare(_ program: Program, _ record: [Value], _ expected: [String: Any]) -> String? {
        let isError = expected["error"] as? Bool ?? false
        do throws(EvaluationError) {
            let value = try program.value(record)
            if isError { return "is \(value), not an error" }
            guard let raw = expected["value"], let wanted = Self.value(raw) else {
                return expected["type"] == nil ? "malformed expectation" : nil
            }
            return Self.same(value, wanted) ? nil : "is \(value), not \(wanted)"
        } catch {
            return isError ? nil : "fails: \(error)"
        }
    }

    private func declarations() -> ([VariableDeclaration], [FunctionDeclaration]) {
        var variables: [VariableDeclaration] = []
        var functions: [FunctionDeclaration] = []
        for entry in test["type_env"] as? [[String: Any]] ?? [] {
            let name = entry["name"] as? String ?? ""
            guard entry["kind"] as? String == "function" else {
                variables.append(
                    VariableDeclaration(name: name, type: Self.type(entry["type"] as? [String: Any] ?? [:]))
                )
                continue
            }
            for overload in entry["overloads"] as? [[String: Any]] ?? [] {
                functions.append(
                    FunctionDeclaration(
                        name: name,
                        isMethod: overload["member"] as? Bool ?? false,
                        parameters: (overload["params"] as? [[String: Any]] ?? []).map(Self.type),
                        result: Self.type(overload["result"] as? [String: Any] ?? [:])
                    )
                )
            }
        }
        return (variables, functions)
    }

    static func type(_ json: [String: Any]) -> ValueType {
        if let parameter = json["param"] as? String { return .parameter(parameter) }
        let parameters = (json["params"] as? [[String: Any]] ?? []).map(type)
        switch json["name"] as? String ?? "" {
        case "bool": return .bool
        case "int": return .int
        case "uint": return .uint
        case "double": return .double
        case "string": return .string
        case "bytes": return .bytes
        case "null", "null_type": return .null
        case "timestamp", "google.protobuf.Timestamp": return .timestamp
        case "duration", "google.protobuf.Duration": return .duration
        case "type": return .type
        case "dyn": return .dyn
        case "list": return .list(parameters.first ?? .dyn)
        case "map": return .map(parameters.first ?? .dyn, parameters.last ?? .dyn)
        case "optional_type": return .optional(parameters.first ?? .dyn)
        case let name: return .opaque(name, parameters)
        }
    }

    static func value(_ json: Any) -> Value? {
        guard let json = json as? [String: Any], let type = json["type"] as? String else { return nil }
        let raw = json["value"]
        let text = raw as? String ?? ""
        switch type {
        case "null": return .null
        case "bool": return (raw as? Bool).map { .bool($0) }
        case "int": return Int64(text).map { .int($0) }
        case "uint": return UInt64(text).map { .uint($0) }
        case "double":
            switch text {
            case "NaN": return .double(.nan)
            case "Infinity": return .double(.infinity)
            case "-Infinity": return .double(-.infinity)
            default: return Double(text).map { .double($0) }
            }
        case "string": return .string(text)
        case "bytes": return Data(base64Encoded: text).map { .bytes(Array($0)) }
        case "type": return .type(text)
        case "timestamp", "duration":
            let environment = Environment(variables: [VariableDeclaration(name: "text", type: .string)])
            return try? environment.compile("\(type)(text)").value([.string(text)])
        case "list":
            let elements = (raw as? [Any] ?? []).map(value)
            return elements.contains { $0 == nil } ? nil : .list(elements.compactMap { $0 })
        case "map":
            var entries: [(Value, Value)] = []
            for entry in raw as? [[Any]] ?? [] {
                guard entry.count == 2, let key = value(entry[0]), let value = value(entry[1]) else { return nil }
                entries.append((key, value))
            }
            return MapValue(entries).map { .map($0) }
        case "optional", "optional_type":
            if raw == nil || raw is NSNull { return .optional(nil) }
            return raw.flatMap(value).map { .optional($0) }
        default: return nil
        }
    }

    /// Equality of types and contents, NaN being equal to itself and 0.0 unlike -0.0.
    static func same(_ a: Value, _ b: Value) -> Bool {
        switch (a, b) {
        case (.double(let x), .double(let y)): x.isNaN ? y.isNaN : x == y && x.sign == y.sign
        case (.list(let x), .list(let y)): x.count == y.count && zip(x, y).allSatisfy(same)
        case (.map(let x), .map(let y)):
            x.count == y.count
                && zip(x.keys, x.values).allSatisfy { key, value in
                    y.keys.contains(key) && (y[key].map { same(value, $0) } ?? false)
                }
        case (.optional(let x?), .optional(let y?)): same(x, y)
        default: a == b
        }
    }
}

/// A variable that expressions may read.
public struct VariableDeclaration: Sendable, Hashable {
    /// The name, which may be qualified: `request.time`.
    public var name: String
    /// The type.
    public var type: ValueType

    /// A variable of this name and type.
    public init(name: String, type: ValueType) {
        self.name = name
        self.type = type
    }
}

/// A function of the host's that expressions may call.
///
/// Several declarations of one name are its overloads. At evaluation all of them reach
/// ``HostFunctions/call(_:site:arguments:)`` with the number of the first.
public struct FunctionDeclaration: Sendable, Hashable {
    /// The name, which may be qualified.
    public var name: String
    /// Whether it is called as `target.name(…)`; the target is then the first parameter.
    public var isMethod: Bool
    /// The types of the parameters.
    public var parameters: [ValueType]
    /// The type of the result.
    public var result: ValueType
    /// Which parameters take only a literal. Such arguments are in ``HostCall/constants``.
    public var literalParameters: Set<Int>
    /// The cost units of a call, at least 1, charged before it.
    public var cost: Int

    /// A function of this name and signature.
    public init(
        name: String,
        isMethod: Bool = false,
        parameters: [ValueType],
        result: ValueType,
        literalParameters: Set<Int> = [],
        cost: Int = 1
    ) {
        self.name = name
        self.isMethod = isMethod
        self.parameters = parameters
        self.result = result
        self.literalParameters = literalParameters
        self.cost = max(1, cost)
    }
}

/// What expressions may use, and what they may cost. Making one costs more than compiling a rule: keep it.
public struct Environment: Sendable {
    /// The limits of compilation and evaluation.
    public let limits: Limits
    /// The type that an expression must have, nil for any.
    public let resultType: ValueType?
    /// The host functions, by number.
    public let functions: [FunctionDeclaration]
    /// The lookups, by number.
    public let lookups: [LookupDeclaration]

    let record: (name: String, schema: RecordSchema)?
    let variables: [VariableDeclaration]
    let variableSlots: [String: Int32]
    let hasQualifiedNames: Bool
    /// How many parts a declared name has at most; types have three.
    let longestName: Int
    let containers: [String]
    let isChecked: Bool
    let hostFunctions: [String: FunctionEntry]
    let hostMethods: [String: FunctionEntry]
    /// Whether constants are folded; only tests turn it off.
    package var foldsConstants = true

    /// Rules over one record, whose result must be a bool: `customer.daily_spend > 100.0`.
    ///
    /// - Parameters:
    ///   - record: The record's fields; a field's place is its slot.
    ///   - named: The variable that stands for the record.
    ///   - functions: The host's functions.
    ///   - lookups: The host's lookups. One of a name that a function has hides the function.
    ///   - limits: What an expression may cost.
    public init(
        record: RecordSchema,
        named: String,
        functions: [FunctionDeclaration] = [],
        lookups: [LookupDeclaration] = [],
        limits: Limits = .default
    ) {
        self.init(
            record: (named, record),
            variables: [],
            functions: functions,
            lookups: lookups,
            container: "",
            resultType: .bool,
            isChecked: true,
            limits: limits
        )
    }

    /// Expressions over declared variables; a variable's place is its slot.
    ///
    /// - Parameters:
    ///   - variables: The variables. None may be of a record type.
    ///   - functions: The host's functions.
    ///   - lookups: The host's lookups. One of a name that a function has hides the function.
    ///   - container: The name within which names are resolved first, as `com.example`.
    ///   - resultType: The type that an expression must have, nil for any.
    ///   - isChecked: Whether types are checked before evaluation. Without, an unknown name or a wrong type is an error
    ///     of the evaluation.
    ///   - limits: What an expression may cost.
    public init(
        variables: [VariableDeclaration],
        functions: [FunctionDeclaration] = [],
        lookups: [LookupDeclaration] = [],
        container: String = "",
        resultType: ValueType? = nil,
        isChecked: Bool = true,
        limits: Limits = .default
    ) {
        self.init(
            record: nil,
            variables: variables,
            functions: functions,
            lookups: lookups,
            container: container,
            resultType: resultType,
            isChecked: isChecked,
            limits: limits
        )
    }

    private init(
        record: (String, RecordSchema)?,
        variables: [VariableDeclaration],
        functions: [FunctionDeclaration],
        lookups: [LookupDeclaration],
        container: String,
        resultType: ValueType?,
        isChecked: Bool,
        limits: Limits
    ) {
        self.record = record
        self.variables = variables
        self.functions = functions
        self.lookups = lookups
        self.resultType = resultType
        self.isChecked = isChecked
        self.limits = limits
        variableSlots = Dictionary(zip(variables.lazy.map(\.name), 0...)) { first, _ in first }
        hasQualifiedNames = !container.isEmpty || variables.contains { $0.name.contains(".") }
        longestName = max(3, variables.lazy.map { $0.name.split(separator: ".").count }.max() ?? 0)
        var parts = container.split(separator: ".").map(String.init)
        var containers: [String] = []
        while !parts.isEmpty {
            containers.append(parts.joined(separator: ".") + ".")
            parts.removeLast()
        }
        self.containers = containers + [""]
        var tables: [[String: FunctionEntry]] = [[:], [:]]
        for (number, function) in functions.enumerated() {
            let entry = FunctionEntry(target: .host(Int32(number)), overloads: [])
            tables[function.isMethod ? 1 : 0][function.name, default: entry].overloads
                .append(Overload(function.parameters, function.result))
        }
        for (number, lookup) in lookups.enumerated() {
            tables[0][lookup.name] = FunctionEntry(target: .lookup(Int32(number)), overloads: [])
        }
        hostFunctions = tables[0]
        hostMethods = tables[1]
    }

    /// Compiles an expression.
    ///
    /// - Parameter resolver: Resolves lookups; without one an expression with a lookup is refused.
    /// - Throws: ``CompilationError`` with every problem found.
    public func compile(
        _ source: String,
        resolvingLookups resolver: LookupResolver? = nil
    ) throws(CompilationError) -> Program {
        var source = source
        source.makeContiguousUTF8()
        let compiled: Result<Program, CompilationError> = source.withUTF8Copy { bytes in
            let map = SourceMap(source, bytes: bytes)
            func fail(_ errors: [SourceError]) -> Result<Program, CompilationError> {
                let issues = errors.map {
                    CompilationError.Issue(
                        message: $0.message,
                        position: map.position($0.offset),
                        suggestion: $0.suggestion
                    )
                }
                return .failure(CompilationError(source: source, issues: issues))
            }
            do throws(SourceError) {
                let tree = try Parser.parse(bytes, limits: limits)
                var checker = Checker(tree: tree, environment: self, resolver: resolver)
                let checked = checker.check()
                guard checker.errors.isEmpty else { return fail(checker.errors) }
                let code = try CodeGenerator.generate(checked, environment: self, source: source, map: map)
                return .success(Program(code))
            } catch {
                return fail([error])
            }
        }
        return try compiled.get()
    }
}

extension String {
    fileprivate func withUTF8Copy<R>(_ body: (UnsafeBufferPointer<UInt8>) -> R) -> R {
        var copy = self
        return copy.withUTF8(body)
    }
}

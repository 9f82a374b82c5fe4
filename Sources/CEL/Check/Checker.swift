/// What a node's name refers to.
enum Reference: Sendable {
    case none
    /// A field of the record or a variable, by slot.
    case slot(Int32)
    /// A variable of a comprehension, by its place among the locals.
    case local(Int32)
    /// A type's name.
    case type(String)
    /// An unknown variable or function: an error of the evaluation in an unchecked environment.
    case unknown
    case builtin(Builtin)
    case host(Int32)
    /// A call whose target is part of the function's qualified name.
    case qualified(Builtin)
    case qualifiedHost(Int32)
    /// A lookup, by the number that the host gave it.
    case lookup(Int32)
}

/// A syntax tree with its names resolved and, in a checked environment, its types.
struct CheckedTree: Sendable {
    var tree: SyntaxTree
    var types: [ValueType]
    var references: [Reference]
    /// Of comprehensions, the first of their locals.
    var locals: [Int32]
    var localCount = 0
    var resultType = ValueType.dyn
    /// The lookups, also those that folding will leave out.
    var lookups: [(node: Int32, name: String, number: Int32)] = []
}

/// Resolves names and infers types.
///
/// Recursion follows only what ``Limits/nesting`` bounds; first children are taken in a loop, because a chain like
/// `1 + 1 + …` or `a.b.c…` nests as deep as it is long.
struct Checker {
    let environment: Environment
    let resolver: LookupResolver?
    let isChecked: Bool
    var substitution: Substitution
    var result: CheckedTree
    var errors: [SourceError] = []
    private var scope: [(name: String, local: Int32, type: ValueType)] = []
    private var localDepth = 0
    private var loopDepth = 0

    var tree: SyntaxTree { _read { yield result.tree } }

    init(tree: SyntaxTree, environment: Environment, resolver: LookupResolver?) {
        self.environment = environment
        self.resolver = resolver
        isChecked = environment.isChecked
        substitution = Substitution(nullable: environment.record == nil)
        let count = tree.nodes.count
        result = CheckedTree(
            tree: tree,
            types: Array(repeating: .dyn, count: count),
            references: Array(repeating: .none, count: count),
            locals: Array(repeating: -1, count: count)
        )
    }

    /// Checks the whole tree; `errors` says whether that succeeded.
    mutating func check() -> CheckedTree {
        visit(tree.root)
        let type = substitution.resolve(type(tree.root))
        result.resultType = type
        if isChecked, errors.isEmpty, let expected = environment.resultType, type != expected {
            let start = Int(tree[tree.root].start)
            errors.append(
                SourceError(
                    "the expression must be a \(expected), but is a \(type)",
                    at: start,
                    suggestion: expected == .bool && type != .dyn ? "compare it with something" : nil
                )
            )
        }
        return result
    }

    // MARK: Helpers

    func type(_ node: Int32) -> ValueType { substitution.shallow(result.types[Int(node)]) }

    mutating func set(_ node: Int32, _ type: ValueType) { result.types[Int(node)] = type }

    mutating func refer(_ node: Int32, _ reference: Reference) { result.references[Int(node)] = reference }

    mutating func report(_ message: String, at node: Int32, suggestion: String? = nil) {
        guard errors.count < 20 else { return }
        errors.append(SourceError(message, at: Int(tree[node].position), suggestion: suggestion))
    }

    func show(_ type: ValueType) -> String { substitution.resolve(type).description }

    func local(_ name: String) -> (local: Int32, type: ValueType)? {
        scope.last { $0.name == name }.map { ($0.local, $0.type) }
    }

    // MARK: The walk

    mutating func visit(_ root: Int32) {
        var spine: [Int32] = []
        var node = root
        while let next = firstChild(node) {
            spine.append(node)
            node = next
        }
        leaf(node, parent: spine.last)
        while let node = spine.popLast() { finish(node, parent: spine.last) }
    }

    /// The child to be visited before the node itself; nil for leaves and names that are resolved as a whole.
    private mutating func firstChild(_ node: Int32) -> Int32? {
        let entry = tree[node]
        switch entry.kind {
        case .literal, .identifier, .call, .list, .map: return nil
        case .select: return entry.detail == 0 && resolveQualified(node) ? nil : tree.child(node, 0)
        case .method: return resolveQualifiedCall(node) ? nil : tree.child(node, 0)
        default: return tree.child(node, 0)
        }
    }

    private mutating func leaf(_ node: Int32, parent: Int32?) {
        switch tree[node].kind {
        case .literal: set(node, literalType(tree.constants[Int(tree[node].payload)]))
        case .identifier: identifier(node, parent: parent)
        case .call: call(node)
        case .list: list(node)
        case .map: map(node)
        case .method: qualifiedCall(node)
        default: break  // A selection resolved as a whole has its type already.
        }
    }

    /// Checks a node whose first child has been checked.
    private mutating func finish(_ node: Int32, parent: Int32?) {
        switch tree[node].kind {
        case .select, .has: select(node)
        case .index:
            visit(tree.child(node, 1))
            index(node)
        case .method: method(node)
        case .negate: negate(node)
        case .not: expectBool(tree.child(node, 0), "'!'"); set(node, .bool)
        case .binary:
            visit(tree.child(node, 1))
            binary(node)
        case .and, .or:
            let symbol = tree[node].kind == .and ? "'&&'" : "'||'"
            for place in 1..<tree.childCount(node) { visit(tree.child(node, place)) }
            for place in 0..<tree.childCount(node) { expectBool(tree.child(node, place), symbol) }
            set(node, .bool)
        case .conditional:
            expectBool(tree.child(node, 0), "'?'")
            visit(tree.child(node, 1))
            visit(tree.child(node, 2))
            conditional(node)
        case .comprehension: comprehension(node)
        case .literal, .identifier, .call, .list, .map: break
        }
    }

    private func literalType(_ value: Value) -> ValueType {
        switch value {
        case .null: .null
        case .bool: .bool
        case .int: .int
        case .uint: .uint
        case .double: .double
        case .string: .string
        case .bytes: .bytes
        default: .dyn
        }
    }

    mutating func expectBool(_ node: Int32, _ what: String) {
        guard isChecked else { return }
        let found = type(node)
        if !substitution.assign(found, to: .bool) {
            report(at: node, "\(what) takes bool values, but this is a \(show(found))")
        }
    }

    /// Reports at the start of a node rather than at its operator.
    mutating func report(at node: Int32, _ message: String, suggestion: String? = nil) {
        guard errors.count < 20 else { return }
        errors.append(SourceError(message, at: Int(tree[node].start), suggestion: suggestion))
    }

    private mutating func list(_ node: Int32) {
        var element: ValueType?
        for place in 0..<tree.childCount(node) {
            let child = tree.child(node, place)
            visit(child)
            guard isChecked else { continue }
            let type = entryType(node, entry: place, child)
            element = element.map { substitution.join($0, type) } ?? type
        }
        set(node, .list(element ?? (isChecked ? substitution.fresh() : .dyn)))
    }

    private mutating func map(_ node: Int32) {
        var key: ValueType?
        var value: ValueType?
        for place in 0..<tree.childCount(node) / 2 {
            let keyNode = tree.child(node, 2 * place)
            let valueNode = tree.child(node, 2 * place + 1)
            visit(keyNode)
            visit(valueNode)
            guard isChecked else { continue }
            let keyType = type(keyNode)
            switch keyType {
            case .bool, .int, .uint, .string, .dyn, .variable: break
            default: report(at: keyNode, "a map's key must be bool, int, uint or string, but is a \(show(keyType))")
            }
            let valueType = entryType(node, entry: place, valueNode)
            key = key.map { substitution.join($0, keyType) } ?? keyType
            value = value.map { substitution.join($0, valueType) } ?? valueType
        }
        set(
            node,
            .map(key ?? (isChecked ? substitution.fresh() : .dyn), value ?? (isChecked ? substitution.fresh() : .dyn))
        )
    }

    private mutating func entryType(_ node: Int32, entry: Int, _ child: Int32) -> ValueType {
        let found = type(child)
        guard tree.isOptional(node, entry: entry) else { return found }
        let wrapped = substitution.fresh()
        if !substitution.assign(found, to: .optional(wrapped)) {
            report(at: child, "an entry with '?' takes an optional, but this is a \(show(found))")
        }
        return substitution.shallow(wrapped)
    }

    private mutating func conditional(_ node: Int32) {
        guard isChecked else { return }
        let yes = type(tree.child(node, 1))
        let no = type(tree.child(node, 2))
        let both = substitution.fresh()
        if substitution.assign([yes, no], to: [both, both]) {
            set(node, both)
        } else {
            report(
                "both results of a conditional must have the same type, but they are \(show(yes)) and \(show(no))",
                at: node,
                suggestion: Self.numericHint(substitution.resolve(yes), substitution.resolve(no))
            )
            set(node, .dyn)
        }
    }

    private mutating func comprehension(_ node: Int32) {
        let kind = tree.comprehension(node)
        let entry = tree[node]
        let range = type(tree.child(node, 0))
        let base = localDepth
        // Loops keep their range, place and result beside their variables.
        let variables = kind.isLoop ? 5 : 1
        localDepth += variables
        result.localCount = max(result.localCount, localDepth)
        result.locals[Int(node)] = Int32(base)
        if kind.isLoop {
            loopDepth += 1
            if loopDepth > environment.limits.comprehensionNesting {
                report(
                    "comprehensions nest deeper than \(environment.limits.comprehensionNesting) levels",
                    at: node
                )
            }
        }
        let (first, second) = variableTypes(node, kind, range)
        let firstLocal = Int32(kind.isLoop ? base + 3 : base)
        scope.append((tree.names[Int(entry.payload)], firstLocal, first))
        if entry.payload2 >= 0 { scope.append((tree.names[Int(entry.payload2)], firstLocal + 1, second)) }
        for place in 1..<tree.childCount(node) { visit(tree.child(node, place)) }
        scope.removeLast(entry.payload2 >= 0 ? 2 : 1)
        localDepth -= variables
        if kind.isLoop { loopDepth -= 1 }
        set(node, comprehensionType(node, kind, key: first))
    }

    private mutating func variableTypes(
        _ node: Int32,
        _ kind: SyntaxTree.Comprehension,
        _ range: ValueType
    ) -> (ValueType, ValueType) {
        guard isChecked else { return (.dyn, .dyn) }
        let pair = tree[node].payload2 >= 0
        switch kind {
        case .bind: return (range, .dyn)
        case .optMap, .optFlatMap:
            let wrapped = substitution.fresh()
            if !substitution.assign(range, to: .optional(wrapped)) {
                report("\(kind.name)() takes an optional, but this is a \(show(range))", at: node)
            }
            return (wrapped, .dyn)
        default:
            switch range {
            case .list(let element): return pair ? (.int, element) : (element, .dyn)
            case .map(let key, let value): return (key, value)
            case .dyn, .variable: return (.dyn, .dyn)
            default:
                report("\(kind.name)() takes a list or a map, but this is a \(show(range))", at: node)
                return (.dyn, .dyn)
            }
        }
    }

    private mutating func comprehensionType(
        _ node: Int32,
        _ kind: SyntaxTree.Comprehension,
        key: ValueType
    ) -> ValueType {
        guard isChecked else { return .dyn }
        let count = tree.childCount(node)
        let last = tree.child(node, count - 1)
        let body = type(last)
        if count == 3 { expectBool(tree.child(node, 1), "the condition of \(kind.name)()") }
        switch kind {
        case .all, .exists, .existsOne:
            expectBool(last, "\(kind.name)()")
            return .bool
        case .filter:
            expectBool(last, "filter()")
            return .list(key)
        case .map, .transformList: return .list(body)
        case .transformMap: return .map(key, body)
        case .transformMapEntry:
            let (k, v) = (substitution.fresh(), substitution.fresh())
            if !substitution.assign(body, to: .map(k, v)) {
                report("transformMapEntry() makes maps, but this is a \(show(body))", at: node)
            }
            return .map(k, v)
        case .bind: return body
        case .optMap: return .optional(body)
        case .optFlatMap:
            let wrapped = substitution.fresh()
            if !substitution.assign(body, to: .optional(wrapped)) {
                report("optFlatMap() makes optionals, but this is a \(show(body))", at: node)
            }
            return .optional(wrapped)
        }
    }

    /// What to write where two numbers of different types meet.
    static func numericHint(_ a: ValueType, _ b: ValueType) -> String? {
        switch (a, b) {
        case (.int, .double), (.double, .int), (.uint, .double), (.double, .uint):
            "write the whole number with a point, as 5.0, or convert it with double(…)"
        case (.int, .uint), (.uint, .int): "write the literal as 5u, or convert with int(…) or uint(…)"
        case (.null, _), (_, .null): "a value of this type is never null; for presence use has(…)"
        default: nil
        }
    }
}

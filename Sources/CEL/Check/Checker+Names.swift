/// Identifiers, selections and calls.
extension Checker {
    private enum Found {
        case slot(Int32, ValueType)
        case type(String)
    }

    /// Looks a dotted name up, in the container first.
    private func lookUp(_ name: String, absolute: Bool) -> Found? {
        for container in environment.containers where !absolute || container.isEmpty {
            let full = container.isEmpty ? name : container + name
            if let slot = environment.variableSlots[full] {
                return .slot(slot, environment.variables[Int(slot)].type)
            }
            if let type = StandardLibrary.types[full] { return .type(type) }
        }
        return nil
    }

    mutating func identifier(_ node: Int32, parent: Int32?) {
        let name = tree.name(node)
        let absolute = tree[node].detail == 1
        if !absolute, let (local, type) = local(name) {
            refer(node, .local(local))
            set(node, type)
            return
        }
        if let record = environment.record, record.name == name {
            let kind = parent.map { tree[$0].kind }
            if kind == .select || kind == .has {
                set(node, .record(record.schema))
            } else {
                let example = record.schema.fields.first?.name ?? "attribute"
                report(
                    "'\(name)' is a record and no value by itself",
                    at: node,
                    suggestion: "read one of its attributes, as in \(name).\(example)"
                )
            }
            return
        }
        switch lookUp(name, absolute: absolute) {
        case .slot(let slot, let type):
            refer(node, .slot(slot))
            set(node, type)
        case .type(let type):
            refer(node, .type(type))
            set(node, .type)
        case nil:
            refer(node, .unknown)
            guard isChecked else { return }
            report("unknown variable '\(name)'", at: node, suggestion: suggestion(variable: name))
        }
    }

    private func suggestion(variable name: String) -> String? {
        if let record = environment.record {
            // The commonest slip is to leave the record's name out.
            if record.schema.slot(of: name) != nil { return "did you mean \(record.name).\(name)?" }
            if Suggestions.nearest(to: name, among: [record.name]) != nil { return "did you mean \(record.name)?" }
            if let field = Suggestions.nearest(to: name, among: record.schema.fields.lazy.map(\.name)) {
                return "did you mean \(record.name).\(field)?"
            }
            return "rules read \(record.name).<attribute>"
        }
        return Suggestions.nearest(to: name, among: environment.variables.map(\.name)).map { "did you mean \($0)?" }
    }

    /// The dotted name that a chain of selections spells, if it begins with a name that is no local.
    private func dottedName(_ node: Int32) -> (name: String, absolute: Bool)? {
        var parts: [String] = []
        var node = node
        while tree[node].kind == .select {
            // Longer than any declared name; the check keeps long chains linear.
            guard tree[node].detail == 0, parts.count < environment.longestName else { return nil }
            parts.append(tree.name(node))
            node = tree.child(node, 0)
        }
        guard tree[node].kind == .identifier else { return nil }
        let absolute = tree[node].detail == 1
        let root = tree.name(node)
        if !absolute, local(root) != nil { return nil }
        guard environment.hasQualifiedNames || root == "google" else { return nil }
        parts.append(root)
        return (parts.reversed().joined(separator: "."), absolute)
    }

    /// Resolves a chain of selections that spells a declared name; the longest such name wins.
    mutating func resolveQualified(_ node: Int32) -> Bool {
        guard let (name, absolute) = dottedName(node) else { return false }
        switch lookUp(name, absolute: absolute) {
        case .slot(let slot, let type):
            refer(node, .slot(slot))
            set(node, type)
        case .type(let type):
            refer(node, .type(type))
            set(node, .type)
        case nil: return false
        }
        return true
    }

    mutating func select(_ node: Int32) {
        let entry = tree[node]
        let operand = tree.child(node, 0)
        let name = tree.name(node)
        if case .record(let schema) = type(operand) {
            let isHas = entry.kind == .has
            guard let slot = schema.slot(of: name) else {
                if !isChecked { return refer(node, .unknown) }
                report(
                    "\(environment.record?.name ?? "the record") has no attribute '\(name)'",
                    at: node,
                    suggestion: Suggestions.nearest(to: name, among: schema.fields.lazy.map(\.name))
                        .map { "did you mean \($0)?" }
                )
                return
            }
            refer(node, .slot(Int32(slot)))
            let type = schema.fields[slot].type
            set(node, isHas ? .bool : entry.detail == 1 ? .optional(type) : type)
            return
        }
        guard isChecked else { return }
        let found = type(operand)
        var (fieldType, viaOptional) = fieldType(found)
        if fieldType == nil {
            report("a \(show(found)) has no fields, so '.\(name)' cannot be read", at: node)
            fieldType = .dyn
        }
        if entry.kind == .has { return set(node, .bool) }
        viaOptional = viaOptional || entry.detail == 1
        set(node, viaOptional ? optional(fieldType ?? .dyn) : fieldType ?? .dyn)
    }

    /// An optional of a type, which stays as it is if it is optional already.
    private func optional(_ type: ValueType) -> ValueType {
        if case .optional = substitution.shallow(type) { return type }
        return .optional(type)
    }

    private func fieldType(_ type: ValueType) -> (ValueType?, Bool) {
        switch type {
        case .map(_, let value): (value, false)
        case .dyn, .variable: (.dyn, false)
        case .optional(let wrapped): (fieldType(substitution.shallow(wrapped)).0, true)
        default: (nil, false)
        }
    }

    mutating func index(_ node: Int32) {
        guard isChecked else { return }
        let key = type(tree.child(node, 1))
        var operand = type(tree.child(node, 0))
        var isOptional = tree[node].detail == 1
        if case .optional(let wrapped) = operand {
            operand = substitution.shallow(wrapped)
            isOptional = true
        }
        var element = ValueType.dyn
        switch operand {
        case .list(let type):
            element = type
            if !substitution.assign(key, to: .int) {
                report("a list is indexed by int, but this is a \(show(key))", at: node)
            }
        case .map(let keyType, let value):
            element = value
            if !substitution.assign(key, to: keyType) {
                report("the map's keys are \(show(keyType)), but this is a \(show(key))", at: node)
            }
        case .dyn, .variable: break
        default: report("a \(show(operand)) cannot be indexed", at: node)
        }
        set(node, isOptional ? optional(element) : element)
    }

    // MARK: Calls

    private func entry(_ name: String, method: Bool, absolute: Bool = false) -> FunctionEntry? {
        if method {
            return environment.hostMethods[name] ?? StandardLibrary.methods[name]
        }
        if !environment.hostFunctions.isEmpty {
            for container in environment.containers where !absolute || container.isEmpty {
                if let entry = environment.hostFunctions[container.isEmpty ? name : container + name] { return entry }
            }
        }
        return StandardLibrary.functions[name]
    }

    mutating func call(_ node: Int32) {
        let name = tree.name(node)
        for place in 0..<tree.childCount(node) { visit(tree.child(node, place)) }
        guard let entry = entry(name, method: false, absolute: tree[node].detail == 1) else {
            return unknownFunction(node, name, method: false)
        }
        resolve(node, name, entry, arguments: Array(arguments(node)), qualified: false)
    }

    private func arguments(_ node: Int32) -> ArraySlice<Int32> {
        let entry = tree[node]
        return tree.children[Int(entry.first)..<Int(entry.first + entry.count)]
    }

    /// Whether a method call is a call of a function by its qualified name, as `math.abs(x)`.
    mutating func resolveQualifiedCall(_ node: Int32) -> Bool {
        guard let (name, absolute) = qualifiedFunction(node) else { return false }
        return entry(name, method: false, absolute: absolute) != nil
    }

    private func qualifiedFunction(_ node: Int32) -> (String, Bool)? {
        var parts = [tree.name(node)]
        var target = tree.child(node, 0)
        while tree[target].kind == .select, tree[target].detail == 0 {
            parts.append(tree.name(target))
            target = tree.child(target, 0)
        }
        guard tree[target].kind == .identifier else { return nil }
        let root = tree.name(target)
        let absolute = tree[target].detail == 1
        if !absolute, local(root) != nil { return nil }
        guard !environment.hostFunctions.isEmpty || StandardLibrary.namespaces.contains(root) else { return nil }
        parts.append(root)
        return (parts.reversed().joined(separator: "."), absolute)
    }

    mutating func qualifiedCall(_ node: Int32) {
        guard let (name, absolute) = qualifiedFunction(node),
            let entry = entry(name, method: false, absolute: absolute)
        else { return }
        let arguments = Array(arguments(node).dropFirst())
        for argument in arguments { visit(argument) }
        resolve(node, name, entry, arguments: arguments, qualified: true)
    }

    mutating func method(_ node: Int32) {
        let name = tree.name(node)
        let arguments = Array(arguments(node))
        for argument in arguments.dropFirst() { visit(argument) }
        guard let entry = entry(name, method: true) else { return unknownFunction(node, name, method: true) }
        resolve(node, name, entry, arguments: arguments, qualified: false)
    }

    private mutating func unknownFunction(_ node: Int32, _ name: String, method: Bool) {
        refer(node, .unknown)
        guard isChecked else { return }
        let known =
            method
            ? Array(StandardLibrary.methods.keys) + Array(environment.hostMethods.keys)
                + ["all", "exists", "exists_one", "map", "filter"]
            : Array(StandardLibrary.functions.keys) + Array(environment.hostFunctions.keys) + ["has"]
        var suggestion = Suggestions.nearest(to: name, among: known).map { "did you mean \($0)()?" }
        if suggestion == nil || suggestion == "did you mean \(name)()?" {
            if !method, StandardLibrary.methods[name] != nil { suggestion = "call it as value.\(name)(…)" }
            if method, StandardLibrary.functions[name] != nil { suggestion = "call it as \(name)(value)" }
        }
        if name == "has" { suggestion = "has() takes one field, as in has(customer.name)" }
        report("unknown \(method ? "method" : "function") '\(name)'", at: node, suggestion: suggestion)
    }

    private mutating func resolve(
        _ node: Int32,
        _ name: String,
        _ entry: FunctionEntry,
        arguments: [Int32],
        qualified: Bool
    ) {
        switch entry.target {
        case .builtin(let builtin):
            refer(node, qualified ? .qualified(builtin) : .builtin(builtin))
            if builtin == .matches { checkPattern(arguments) }
            guard isChecked else { return }
            if builtin == .greatest || builtin == .least { return extremum(node, name, arguments) }
        case .host(let number):
            refer(node, qualified ? .qualifiedHost(number) : .host(number))
            for place in environment.functions[Int(number)].literalParameters.sorted() where place < arguments.count {
                if tree[arguments[place]].kind != .literal {
                    report(at: arguments[place], "\(name)() takes a literal here, not a computed value")
                }
            }
            guard isChecked else { return }
        case .lookup(let number): return lookup(node, Int(number), name, arguments)
        }
        let types = arguments.map { type($0) }
        var found: ValueType?
        for overload in entry.overloads where overload.parameters.count == types.count {
            var parameters = overload.parameters
            var value = overload.result
            if overload.isGeneric {
                var names: [String: ValueType] = [:]
                parameters = parameters.map { substitution.instantiate($0, &names) }
                value = substitution.instantiate(value, &names)
            }
            guard substitution.assign(types, to: parameters) else { continue }
            if let earlier = found {
                if earlier != value { found = .dyn }
            } else {
                found = value
            }
        }
        if let found { return set(node, found) }
        let shown = types.map { show($0) }.joined(separator: ", ")
        let expected = entry.overloads.prefix(8)
            .map { "(" + $0.parameters.map(\.description).joined(separator: ", ") + ")" }
        report(
            "\(name)() does not take (\(shown))",
            at: node,
            suggestion: "it takes " + expected.joined(separator: " or ")
        )
    }

    /// A pattern must be a literal where the limits say so; a literal one must be well formed in a rule.
    private mutating func checkPattern(_ arguments: [Int32]) {
        guard arguments.count == 2, environment.limits.literalPatternsOnly else { return }
        guard tree[arguments[1]].kind == .literal else {
            return report(at: arguments[1], "matches() takes a literal as its pattern")
        }
    }

    private mutating func extremum(_ node: Int32, _ name: String, _ arguments: [Int32]) {
        var types = arguments.map { substitution.resolve(type($0)) }
        if types.count == 1, case .list(let element) = types[0] { types = [element] }
        let isEmptyList = arguments.count == 1 && tree[arguments[0]].kind == .list && tree.childCount(arguments[0]) == 0
        let fits = types.allSatisfy { [.int, .uint, .double, .dyn].contains($0) }
        guard let first = types.first, fits, !isEmptyList else {
            return report(
                "\(name)() takes numbers, or one list of numbers that is not empty",
                at: node
            )
        }
        set(node, types.allSatisfy { $0 == first } ? first : .dyn)
    }
}

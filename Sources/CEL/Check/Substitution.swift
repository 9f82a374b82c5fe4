/// The type variables of one compilation and what is known of them.
///
/// Assignability and joins follow the CEL checker: a variable takes the most general of the types assigned to it.
struct Substitution {
    private var bindings: [ValueType?] = []
    /// Whether null may stand where a timestamp, duration, optional or host type is expected.
    let nullable: Bool

    init(nullable: Bool) {
        self.nullable = nullable
    }

    mutating func fresh() -> ValueType {
        bindings.append(nil)
        return .variable(Int32(bindings.count - 1))
    }

    /// What a type is bound to, at its outside only.
    func shallow(_ type: ValueType) -> ValueType {
        var type = type
        while case .variable(let index) = type, let bound = bindings[Int(index)] { type = bound }
        return type
    }

    /// A type with every variable replaced; those that nothing is known of become dyn.
    func resolve(_ type: ValueType) -> ValueType {
        switch shallow(type) {
        case .variable: .dyn
        case .list(let element): .list(resolve(element))
        case .map(let key, let value): .map(resolve(key), resolve(value))
        case .optional(let wrapped): .optional(resolve(wrapped))
        case .opaque(let name, let parameters): .opaque(name, parameters.map(resolve))
        case let other: other
        }
    }

    /// A declaration's type with its parameters replaced by variables.
    mutating func instantiate(_ type: ValueType, _ names: inout [String: ValueType]) -> ValueType {
        switch type {
        case .parameter(let name):
            if let known = names[name] { return known }
            let variable = fresh()
            names[name] = variable
            return variable
        case .list(let element): return .list(instantiate(element, &names))
        case .map(let key, let value): return .map(instantiate(key, &names), instantiate(value, &names))
        case .optional(let wrapped): return .optional(instantiate(wrapped, &names))
        case .opaque(let name, let parameters):
            var result: [ValueType] = []
            for parameter in parameters { result.append(instantiate(parameter, &names)) }
            return .opaque(name, result)
        default: return type
        }
    }

    /// Whether each type can be assigned to its counterpart; what is learnt of variables is kept only if so.
    mutating func assign(_ types: [ValueType], to targets: [ValueType]) -> Bool {
        guard types.count == targets.count else { return false }
        let saved = bindings
        for (type, target) in zip(types, targets) where !assignable(type, target) {
            bindings = saved
            return false
        }
        return true
    }

    mutating func assign(_ type: ValueType, to target: ValueType) -> Bool {
        let saved = bindings
        if assignable(type, target) { return true }
        bindings = saved
        return false
    }

    /// The type of a collection that holds both.
    mutating func join(_ a: ValueType, _ b: ValueType) -> ValueType {
        assign(a, to: b) ? mostGeneral(a, b) : .dyn
    }

    private mutating func assignable(_ a: ValueType, _ b: ValueType) -> Bool {
        if case .variable(let variable) = b {
            let (valid, bound) = substitute(a, for: variable)
            if valid { return true }
            if bound { return false }
        }
        if case .variable(let variable) = a { return substitute(b, for: variable).valid }
        switch (a, b) {
        case (.dyn, _), (_, .dyn): return true
        case (.null, .null): return true
        case (.null, let other), (let other, .null):
            guard nullable else { return false }
            switch other {
            case .timestamp, .duration, .optional, .opaque: return true
            default: return false
            }
        case (.list(let x), .list(let y)), (.optional(let x), .optional(let y)): return assignable(x, y)
        case (.map(let k, let v), .map(let l, let w)): return assignable(k, l) && assignable(v, w)
        case (.opaque(let n, let p), .opaque(let m, let q)):
            guard n == m, p.count == q.count else { return false }
            for (x, y) in zip(p, q) where !assignable(x, y) { return false }
            return true
        default: return a == b
        }
    }

    private mutating func substitute(_ type: ValueType, for variable: Int32) -> (valid: Bool, bound: Bool) {
        if case .variable(variable) = type { return (true, true) }
        if let bound = bindings[Int(variable)] {
            if bound == type { return (true, true) }
            guard assignable(type, bound) else { return (false, true) }
            let general = mostGeneral(type, bound)
            if !refers(general, to: variable) { bindings[Int(variable)] = general }
            return (true, true)
        }
        guard !refers(type, to: variable) else { return (false, false) }
        bindings[Int(variable)] = type
        return (true, false)
    }

    private func refers(_ type: ValueType, to variable: Int32) -> Bool {
        switch type {
        case .variable(variable): true
        case .variable(let other): bindings[Int(other)].map { refers($0, to: variable) } ?? false
        case .list(let element): refers(element, to: variable)
        case .optional(let wrapped): refers(wrapped, to: variable)
        case .map(let key, let value): refers(key, to: variable) || refers(value, to: variable)
        case .opaque(_, let parameters): parameters.contains { refers($0, to: variable) }
        default: false
        }
    }

    private func mostGeneral(_ a: ValueType, _ b: ValueType) -> ValueType {
        if case .null = a { return b }
        if case .null = b { return a }
        return isAtLeastAsGeneral(a, b) ? a : b
    }

    private func isAtLeastAsGeneral(_ a: ValueType, _ b: ValueType) -> Bool {
        switch (a, b) {
        case (.dyn, _), (.variable, _): true
        case (_, .dyn), (_, .variable): false
        case (.list(let x), .list(let y)), (.optional(let x), .optional(let y)): isAtLeastAsGeneral(x, y)
        case (.map(let k, let v), .map(let l, let w)): isAtLeastAsGeneral(k, l) && isAtLeastAsGeneral(v, w)
        case (.opaque(let n, let p), .opaque(let m, let q)):
            n == m && p.count == q.count && zip(p, q).allSatisfy { isAtLeastAsGeneral($0, $1) }
        default: a == b
        }
    }
}

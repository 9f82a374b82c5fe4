/// Calls, and the macros among them.
extension Parser {
    mutating func call(
        _ text: String,
        _ word: Token,
        from start: Int,
        leadingDot: Bool,
        _ arguments: [Int32]
    ) throws(SourceError) -> Int32 {
        if text == "has", !leadingDot, arguments.count == 1 {
            let operand = tree[arguments[0]]
            guard operand.kind == .select, operand.detail == 0 else {
                throw SourceError(
                    "has() takes a field, as in has(customer.name)",
                    at: Int(operand.start)
                )
            }
            var node = make(.has, from: Int32(start), at: Int(operand.position))
            node.payload = operand.payload
            // The selection itself is not evaluated; its operand becomes the child.
            return try add(node, CollectionOfOne(tree.child(arguments[0], 0)))
        }
        var node = make(.call, from: Int32(start), at: word.start)
        node.detail = leadingDot ? 1 : 0
        node.payload = Int32(tree.names.count)
        tree.names.append(text)
        return try add(node, arguments)
    }

    mutating func method(
        _ target: Int32,
        _ text: String,
        _ word: Token,
        _ arguments: [Int32]
    ) throws(SourceError) -> Int32 {
        if let macro = try macro(target, text, arguments) {
            var node = make(.comprehension, from: start(target), at: word.start)
            node.detail = macro.kind.rawValue
            node.payload = macro.first
            node.payload2 = macro.second
            return try add(node, macro.children)
        }
        var node = make(.method, from: start(target), at: word.start)
        node.payload = name(word)
        return try add(node, [target] + arguments)
    }

    private struct Macro {
        var kind: SyntaxTree.Comprehension
        var first: Int32
        var second: Int32 = -1
        var children: [Int32]
    }

    private func macro(_ target: Int32, _ text: String, _ arguments: [Int32]) throws(SourceError) -> Macro? {
        func variable(_ place: Int) throws(SourceError) -> Int32 {
            let node = tree[arguments[place]]
            guard node.kind == .identifier, node.detail == 0 else {
                throw SourceError("\(text)() takes a plain name for its variable", at: Int(node.start))
            }
            return node.payload
        }
        func one(_ kind: SyntaxTree.Comprehension) throws(SourceError) -> Macro {
            Macro(kind: kind, first: try variable(0), children: [target] + arguments[1...])
        }
        func two(_ kind: SyntaxTree.Comprehension) throws(SourceError) -> Macro {
            let first = try variable(0)
            let second = try variable(1)
            guard tree.names[Int(first)] != tree.names[Int(second)] else {
                throw SourceError("\(text)() takes two different variables", at: Int(tree[arguments[1]].start))
            }
            return Macro(kind: kind, first: first, second: second, children: [target] + arguments[2...])
        }
        switch (text, arguments.count) {
        case ("all", 2): return try one(.all)
        case ("exists", 2): return try one(.exists)
        case ("exists_one", 2), ("existsOne", 2): return try one(.existsOne)
        case ("map", 2), ("map", 3): return try one(.map)
        case ("filter", 2): return try one(.filter)
        case ("optMap", 2): return try one(.optMap)
        case ("optFlatMap", 2): return try one(.optFlatMap)
        case ("all", 3): return try two(.all)
        case ("exists", 3): return try two(.exists)
        case ("exists_one", 3), ("existsOne", 3): return try two(.existsOne)
        case ("transformList", 3), ("transformList", 4): return try two(.transformList)
        case ("transformMap", 3), ("transformMap", 4): return try two(.transformMap)
        case ("transformMapEntry", 3), ("transformMapEntry", 4): return try two(.transformMapEntry)
        case ("bind", 3):
            let node = tree[target]
            guard node.kind == .identifier, node.detail == 0, tree.name(target) == "cel" else { return nil }
            return Macro(kind: .bind, first: try variable(0), children: [arguments[1], arguments[2]])
        default: return nil
        }
    }
}

/// Writes a syntax tree as CEL, with no brackets but those it needs. Parsing the text gives the same tree.
struct Printer {
    private let tree: SyntaxTree
    private var text = ""

    static func print(_ tree: SyntaxTree) -> String {
        var printer = Printer(tree: tree)
        printer.write(tree.root)
        return printer.text
    }

    private init(tree: SyntaxTree) {
        self.tree = tree
    }

    /// How tightly a node binds: 0 conditional, 1 or, 2 and, 3 relation, 4 sum, 5 product, 6 unary, 7 member.
    private func precedence(_ node: Int32) -> Int {
        switch tree[node].kind {
        case .conditional: return 0
        case .or: return 1
        case .and: return 2
        case .binary: return tree.operator(node).precedence
        case .negate, .not: return 6
        case .literal, .identifier, .select, .has, .index, .call, .method, .list, .map, .comprehension: return 7
        }
    }

    /// Writes a node. First children are taken in a loop, as in ``Checker``.
    private mutating func write(_ root: Int32) {
        var spine: [(node: Int32, brackets: Bool)] = []
        var node = root
        while let (child, minimum) = opening(node) {
            let brackets = precedence(child) < minimum || needsBrackets(child, in: node)
            if brackets { text += "(" }
            spine.append((node, brackets))
            node = child
        }
        leaf(node)
        while let (node, brackets) = spine.popLast() {
            if brackets { text += ")" }
            rest(node)
        }
    }

    /// `-` before a number is part of it, and `!` and `-` do not stand beside each other.
    private func needsBrackets(_ child: Int32, in parent: Int32) -> Bool {
        switch tree[parent].kind {
        case .negate:
            switch tree[child].kind {
            case .literal, .not: return true
            // The number at the beginning of what is negated would take the sign.
            case .select, .index, .method, .comprehension: return beginsWithNumber(child)
            default: return false
            }
        case .not: return tree[child].kind == .negate
        default: return false
        }
    }

    private func beginsWithNumber(_ node: Int32) -> Bool {
        var node = node
        while true {
            let entry = tree[node]
            switch entry.kind {
            case .select, .index, .method: node = tree.child(node, 0)
            case .comprehension where tree.comprehension(node) != .bind: node = tree.child(node, 0)
            default:
                guard entry.kind == .literal else { return false }
                switch tree.constants[Int(entry.payload)] {
                case .int, .double: return true
                default: return false
                }
            }
        }
    }

    /// Writes what comes before a node's first child; nil for nodes without one to be taken in the loop.
    private mutating func opening(_ node: Int32) -> (child: Int32, minimum: Int)? {
        let child = tree.childCount(node) > 0 ? tree.child(node, 0) : -1
        switch tree[node].kind {
        case .literal, .identifier, .has, .call, .list, .map: return nil
        case .comprehension where tree.comprehension(node) == .bind: return nil
        case .select, .index, .method, .comprehension: return (child, 7)
        case .negate:
            text += "-"
            return (child, 6)
        case .not:
            text += "!"
            return (child, 6)
        case .binary: return (child, precedence(node))
        case .and, .or: return (child, precedence(node) + 1)
        case .conditional: return (child, 1)
        }
    }

    private mutating func rest(_ node: Int32) {
        let entry = tree[node]
        switch entry.kind {
        case .select:
            text += entry.detail == 1 ? ".?" : "."
            field(tree.name(node))
        case .index:
            text += entry.detail == 1 ? "[?" : "["
            write(tree.child(node, 1))
            text += "]"
        case .method:
            text += "." + tree.name(node)
            arguments(node, from: 1)
        case .binary:
            text += " \(tree.operator(node).symbol) "
            child(tree.child(node, 1), minimum: precedence(node) + 1, in: node)
        case .and, .or:
            for place in 1..<tree.childCount(node) {
                text += entry.kind == .and ? " && " : " || "
                child(tree.child(node, place), minimum: precedence(node) + 1, in: node)
            }
        case .conditional:
            text += " ? "
            write(tree.child(node, 1))
            text += " : "
            write(tree.child(node, 2))
        case .comprehension:
            text += "." + tree.comprehension(node).name + "(" + tree.names[Int(entry.payload)]
            if entry.payload2 >= 0 { text += ", " + tree.names[Int(entry.payload2)] }
            for place in 1..<tree.childCount(node) {
                text += ", "
                write(tree.child(node, place))
            }
            text += ")"
        default: break
        }
    }

    private mutating func child(_ node: Int32, minimum: Int, in parent: Int32) {
        let brackets = precedence(node) < minimum || needsBrackets(node, in: parent)
        if brackets { text += "(" }
        write(node)
        if brackets { text += ")" }
    }

    private mutating func leaf(_ node: Int32) {
        let entry = tree[node]
        switch entry.kind {
        case .literal: text += Self.literal(tree.constants[Int(entry.payload)])
        case .identifier: text += (entry.detail == 1 ? "." : "") + tree.name(node)
        case .has:
            text += "has("
            child(tree.child(node, 0), minimum: 7, in: node)
            text += "."
            field(tree.name(node))
            text += ")"
        case .call:
            text += (entry.detail == 1 ? "." : "") + tree.name(node)
            arguments(node, from: 0)
        case .comprehension:
            text += "cel.bind(" + tree.names[Int(entry.payload)]
            for place in 0..<2 {
                text += ", "
                write(tree.child(node, place))
            }
            text += ")"
        case .list:
            text += "["
            for place in 0..<tree.childCount(node) {
                if place > 0 { text += ", " }
                if tree.isOptional(node, entry: place) { text += "?" }
                write(tree.child(node, place))
            }
            text += "]"
        case .map:
            text += "{"
            for place in 0..<tree.childCount(node) / 2 {
                if place > 0 { text += ", " }
                if tree.isOptional(node, entry: place) { text += "?" }
                write(tree.child(node, 2 * place))
                text += ": "
                write(tree.child(node, 2 * place + 1))
            }
            text += "}"
        default: break
        }
    }

    private mutating func arguments(_ node: Int32, from first: Int) {
        text += "("
        for place in first..<tree.childCount(node) {
            if place > first { text += ", " }
            write(tree.child(node, place))
        }
        text += ")"
    }

    private mutating func field(_ name: String) {
        let isPlain =
            name.utf8.allSatisfy(isIdentifierPart) && !isDigit(name.utf8.first ?? 0x30)
            && !["in", "true", "false", "null"].contains(name)
        text += isPlain ? name : "`\(name)`"
    }

    /// A value as a CEL literal, or as the expression that makes it.
    static func literal(_ value: Value) -> String {
        switch value {
        case .null: return "null"
        case .bool(let b): return b ? "true" : "false"
        case .int(let i): return String(i)
        case .uint(let u): return String(u) + "u"
        case .double(let d):
            if !d.isFinite { return "double('\(Conversions.text(d))')" }
            let text = Conversions.text(d)
            return text.utf8.contains { $0 == 0x2E || $0 == 0x65 } ? text : text + ".0"
        case .string(let s): return string(s)
        case .bytes(let b): return bytes(b)
        case .timestamp(let t): return "timestamp(\"\(Time.text(t))\")"
        case .duration(let n): return "duration(\"\(Time.text(nanoseconds: n))\")"
        case .list(let list): return "[" + list.map(literal).joined(separator: ", ") + "]"
        case .map(let map):
            return "{" + zip(map.keys, map.values).map { "\(literal($0)): \(literal($1))" }.joined(separator: ", ")
                + "}"
        case .type(let name): return name
        case .optional(let wrapped): return wrapped.map { "optional.of(\(literal($0)))" } ?? "optional.none()"
        case .absent: return "absent"
        case .error(let error): return error.code.rawValue
        }
    }

    private static func string(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                result += "\\"
                result.unicodeScalars.append(scalar)
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 32 || (0x7F...0x9F).contains(scalar.value): result += "\\x" + hex(scalar.value)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    private static func bytes(_ bytes: [UInt8]) -> String {
        var result = "b\""
        for byte in bytes {
            switch byte {
            case 0x22, 0x5C: result += "\\" + String(Unicode.Scalar(byte))
            case 32..<127: result.unicodeScalars.append(Unicode.Scalar(byte))
            default: result += "\\x" + hex(UInt32(byte))
            }
        }
        return result + "\""
    }

    private static func hex(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return digits.count < 2 ? "0" + digits : digits
    }
}

extension Value: CustomStringConvertible {
    /// The value as CEL writes it.
    public var description: String { Printer.literal(self) }
}

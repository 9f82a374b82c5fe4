/// A recursive parser with precedence climbing. Its recursion is bounded by ``Limits/nesting``.
///
/// Grammar: the Common Expression Language, https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
struct Parser {
    private var lexer: Lexer
    private var token = Token(kind: .end, start: 0, end: 0)
    private var previousEnd = 0
    private var depth = 0
    private let limits: Limits
    var tree = SyntaxTree()

    static func parse(
        _ source: UnsafeBufferPointer<UInt8>,
        limits: Limits
    ) throws(SourceError) -> SyntaxTree {
        guard source.count <= limits.sourceBytes else {
            throw SourceError(
                "the expression has \(source.count) bytes; at most \(limits.sourceBytes) are allowed",
                at: 0
            )
        }
        var parser = Parser(source, limits: limits)
        try parser.advance()
        guard parser.token.kind != .end else { throw SourceError("the expression is empty", at: 0) }
        let root = try parser.expression()
        guard parser.token.kind == .end else { throw parser.unexpected() }
        parser.tree.root = root
        return parser.tree
    }

    private init(_ source: UnsafeBufferPointer<UInt8>, limits: Limits) {
        lexer = Lexer(source)
        self.limits = limits
        tree.nodes.reserveCapacity(32)
        tree.children.reserveCapacity(32)
    }

    // MARK: Tokens

    private mutating func advance() throws(SourceError) {
        previousEnd = token.end
        token = try lexer.next()
    }

    private mutating func accept(_ kind: TokenKind) throws(SourceError) -> Bool {
        guard token.kind == kind else { return false }
        try advance()
        return true
    }

    private mutating func expect(_ kind: TokenKind, _ what: String) throws(SourceError) {
        guard try accept(kind) else {
            throw SourceError("expected \(what)\(found())", at: token.start)
        }
    }

    private func found() -> String {
        token.kind == .end ? " but the expression ends" : ", found '\(clipped())'"
    }

    private func clipped() -> String {
        let text = lexer.text(token)
        return text.unicodeScalars.count > 32 ? String(text.unicodeScalars.prefix(32)) + "…" : text
    }

    private func unexpected() -> SourceError {
        if token.kind == .end { return SourceError("the expression is unfinished", at: token.start) }
        var suggestion: String?
        switch lexer.text(token) {
        case "and", "AND": suggestion = "write '&&'"
        case "or", "OR": suggestion = "write '||'"
        case "not", "NOT": suggestion = "write '!'"
        default: break
        }
        return SourceError("unexpected '\(clipped())'", at: token.start, suggestion: suggestion)
    }

    // MARK: Nodes

    mutating func add(_ node: SyntaxTree.Node, _ children: some Collection<Int32>) throws(SourceError) -> Int32 {
        guard tree.nodes.count < limits.nodes else {
            throw SourceError(
                "the expression has more than \(limits.nodes) parts",
                at: Int(node.position)
            )
        }
        var node = node
        node.first = Int32(tree.children.count)
        node.count = Int32(children.count)
        tree.children.append(contentsOf: children)
        tree.nodes.append(node)
        return Int32(tree.nodes.count - 1)
    }

    mutating func name(_ token: Token) -> Int32 {
        tree.names.append(lexer.text(token))
        return Int32(tree.names.count - 1)
    }

    func start(_ node: Int32) -> Int32 { tree[node].start }

    func make(_ kind: SyntaxTree.Kind, from start: Int32, at position: Int) -> SyntaxTree.Node {
        SyntaxTree.Node(kind: kind, start: start, end: Int32(previousEnd), position: Int32(position))
    }

    // MARK: Expressions

    private mutating func expression() throws(SourceError) -> Int32 {
        depth += 1
        defer { depth -= 1 }
        guard depth <= min(limits.nesting, 128) + 1 else {
            throw SourceError("the expression nests deeper than \(limits.nesting) levels", at: token.start)
        }
        let condition = try binary(1)
        guard token.kind == .question else { return condition }
        let position = token.start
        try advance()
        let yes = try expression()
        try expect(.colon, "':' of the conditional")
        let no = try expression()
        return try add(make(.conditional, from: start(condition), at: position), [condition, yes, no])
    }

    private mutating func binary(_ minimum: Int) throws(SourceError) -> Int32 {
        var left = try unary()
        while true {
            let position = token.start
            if token.kind == .or || token.kind == .and {
                let kind = token.kind
                let precedence = kind == .or ? 1 : 2
                guard precedence >= minimum else { return left }
                // A chain of one operator is one node, so that its length is no depth.
                var terms = [left]
                while token.kind == kind {
                    try advance()
                    terms.append(try binary(precedence + 1))
                }
                left = try add(make(kind == .or ? .or : .and, from: start(left), at: position), terms)
                continue
            }
            guard let op = binaryOperator(token.kind), op.precedence >= minimum else { return left }
            try advance()
            let right = try binary(op.precedence + 1)
            var node = make(.binary, from: start(left), at: position)
            node.detail = op.rawValue
            left = try add(node, [left, right])
        }
    }

    private func binaryOperator(_ kind: TokenKind) -> SyntaxTree.Operator? {
        switch kind {
        case .less: .less
        case .lessOrEqual: .lessOrEqual
        case .greater: .greater
        case .greaterOrEqual: .greaterOrEqual
        case .equal: .equal
        case .notEqual: .notEqual
        case .in: .in
        case .plus: .add
        case .minus: .subtract
        case .star: .multiply
        case .slash: .divide
        case .percent: .modulo
        default: nil
        }
    }

    private mutating func unary() throws(SourceError) -> Int32 {
        guard token.kind == .bang || token.kind == .minus else { return try postfix(try primary()) }
        let kind = token.kind
        var operators: [Int] = []
        while token.kind == kind {
            operators.append(token.start)
            try advance()
        }
        var operand: Int32
        if kind == .minus, token.kind == .int || token.kind == .double {
            operand = try postfix(try negativeNumber(from: operators.removeLast()))
        } else {
            operand = try postfix(try primary())
        }
        for position in operators.reversed() {
            let node = make(kind == .bang ? .not : .negate, from: Int32(position), at: position)
            operand = try add(node, CollectionOfOne(operand))
        }
        return operand
    }

    private mutating func negativeNumber(from start: Int) throws(SourceError) -> Int32 {
        let value: Value =
            token.kind == .int
            ? .int(try lexer.integer(token, negative: true)) : .double(try lexer.double(token, negative: true))
        try advance()
        return try literal(value, from: start)
    }

    private mutating func literal(_ value: Value, from start: Int) throws(SourceError) -> Int32 {
        var node = make(.literal, from: Int32(start), at: start)
        node.payload = Int32(tree.constants.count)
        tree.constants.append(value)
        return try add(node, EmptyCollection())
    }

    private mutating func postfix(_ primary: Int32) throws(SourceError) -> Int32 {
        var operand = primary
        while true {
            if token.kind == .dot {
                try advance()
                let optional = try accept(.question)
                let field = token
                switch token.kind {
                case .identifier, .quotedIdentifier: break
                default: throw SourceError("expected a field's name\(found())", at: token.start)
                }
                try advance()
                if token.kind == .openParen, !optional, field.kind == .identifier {
                    let text = lexer.text(field)
                    let arguments = try arguments()
                    operand = try method(operand, text, field, arguments)
                } else {
                    if field.kind == .quotedIdentifier { previousEnd = max(previousEnd, field.end + 1) }
                    var node = make(.select, from: start(operand), at: field.start)
                    node.detail = optional ? 1 : 0
                    node.payload = name(field)
                    operand = try add(node, CollectionOfOne(operand))
                }
            } else if token.kind == .openBracket {
                let position = token.start
                try advance()
                let optional = try accept(.question)
                let index = try expression()
                try expect(.closeBracket, "']'")
                var node = make(.index, from: start(operand), at: position)
                node.detail = optional ? 1 : 0
                operand = try add(node, [operand, index])
            } else {
                return operand
            }
        }
    }

    /// The arguments of a call, its opening bracket being the next token.
    private mutating func arguments() throws(SourceError) -> [Int32] {
        try advance()
        var result: [Int32] = []
        while token.kind != .closeParen {
            result.append(try expression())
            guard try accept(.comma) else { break }
            if token.kind == .closeParen { throw unexpected() }
        }
        try expect(.closeParen, "')'")
        return result
    }

    private mutating func primary() throws(SourceError) -> Int32 {
        let first = token
        switch first.kind {
        case .openParen:
            try advance()
            let inner = try expression()
            try expect(.closeParen, "')'")
            return inner
        case .openBracket: return try list()
        case .openBrace: return try map()
        case .dot:
            try advance()
            guard token.kind == .identifier else { throw unexpected() }
            return try identifier(from: first.start, leadingDot: true)
        case .identifier: return try identifier(from: first.start, leadingDot: false)
        case .int:
            let value = try lexer.integer(first, negative: false)
            try advance()
            return try literal(.int(value), from: first.start)
        case .uint:
            let value = try lexer.unsigned(first)
            try advance()
            return try literal(.uint(value), from: first.start)
        case .double:
            let value = try lexer.double(first, negative: false)
            try advance()
            return try literal(.double(value), from: first.start)
        case .string, .bytes:
            let contents = try lexer.stringContents(first)
            try advance()
            if first.kind == .bytes { return try literal(.bytes(contents), from: first.start) }
            return try literal(.string(String(decoding: contents, as: UTF8.self)), from: first.start)
        case .true, .false:
            try advance()
            return try literal(.bool(first.kind == .true), from: first.start)
        case .null:
            try advance()
            return try literal(.null, from: first.start)
        default: throw unexpected()
        }
    }

    private static let reserved: Set<String> = [
        "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
        "namespace", "return", "var", "void", "while",
    ]

    private mutating func identifier(from start: Int, leadingDot: Bool) throws(SourceError) -> Int32 {
        let word = token
        try advance()
        let text = lexer.text(word)
        if Self.reserved.contains(text) {
            throw SourceError("'\(text)' is a reserved word", at: word.start)
        }
        if token.kind == .openParen {
            let arguments = try arguments()
            return try call(text, word, from: start, leadingDot: leadingDot, arguments)
        }
        if token.kind == .openBrace {
            throw SourceError("message types are not supported: '\(text){…}'", at: word.start)
        }
        var node = make(.identifier, from: Int32(start), at: word.start)
        node.detail = leadingDot ? 1 : 0
        node.payload = Int32(tree.names.count)
        tree.names.append(text)
        return try add(node, EmptyCollection())
    }

    private mutating func list() throws(SourceError) -> Int32 {
        let start = token.start
        try advance()
        var elements: [Int32] = []
        var optionals: [Bool] = []
        while token.kind != .closeBracket {
            optionals.append(try accept(.question))
            elements.append(try expression())
            try checkElements(elements.count, start)
            guard try accept(.comma) else { break }
        }
        try expect(.closeBracket, "',' or ']'")
        var node = make(.list, from: Int32(start), at: start)
        node.payload = note(optionals)
        return try add(node, elements)
    }

    private mutating func map() throws(SourceError) -> Int32 {
        let start = token.start
        try advance()
        var entries: [Int32] = []
        var optionals: [Bool] = []
        while token.kind != .closeBrace {
            optionals.append(try accept(.question))
            entries.append(try expression())
            try expect(.colon, "':' after the key")
            entries.append(try expression())
            try checkElements(entries.count / 2, start)
            guard try accept(.comma) else { break }
        }
        try expect(.closeBrace, "',' or '}'")
        var node = make(.map, from: Int32(start), at: start)
        node.payload = note(optionals)
        return try add(node, entries)
    }

    private func checkElements(_ count: Int, _ start: Int) throws(SourceError) {
        guard count <= limits.literalElements else {
            throw SourceError("a literal takes at most \(limits.literalElements) elements", at: start)
        }
    }

    private mutating func note(_ optionals: [Bool]) -> Int32 {
        guard optionals.contains(true) else { return -1 }
        tree.optionals.append(optionals)
        return Int32(tree.optionals.count - 1)
    }
}

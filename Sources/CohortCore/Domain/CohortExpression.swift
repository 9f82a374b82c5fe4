/// A set of customers said in terms of cohorts: ids, `and`, `or`, `not` and parentheses, as `A and B and not C`.
///
/// `not` binds closest, then `and`, then `or`. Keywords may be written in any case; a cohort whose id is a keyword (`AND`,
/// `OR`, `NOT`) cannot be named.
struct CohortExpression: Sendable {
    indirect enum Node: Sendable {
        /// By place in `cohorts`.
        case cohort(Int)
        case not(Node)
        /// Two or more.
        case all([Node])
        case any([Node])
    }

    let root: Node
    /// The ids that occur, each once, in order of their first occurrence.
    let cohorts: [String]

    /// - Throws: `.invalidArgument` of the field `expression`, with the position.
    init(parsing text: String, _ configuration: EngineConfiguration) throws(DomainError) {
        let size = text.utf8.count
        guard size <= configuration.maximumExpressionBytes else {
            throw .invalid(
                "expression",
                "has \(size) bytes; at most \(configuration.maximumExpressionBytes) are allowed"
            )
        }
        var parser = CohortExpressionParser(text, configuration)
        root = try parser.parse()
        cohorts = parser.cohorts
    }

    /// The expression in one fixed form: the same for the same expression however it is written.
    var canonical: String { text(root) }

    private func text(_ node: Node) -> String {
        switch node {
        case .cohort(let place): cohorts[place]
        case .not(let node): "not " + text(node)
        case .all(let nodes): "(" + nodes.map { text($0) }.joined(separator: " and ") + ")"
        case .any(let nodes): "(" + nodes.map { text($0) }.joined(separator: " or ") + ")"
        }
    }
}

private struct CohortExpressionParser {
    private enum Token: Equatable {
        case word(String)
        case open, close, end
    }

    private let bytes: [UInt8]
    private let configuration: EngineConfiguration
    private(set) var cohorts: [String] = []
    private var places: [String: Int] = [:]
    private var depth = 0
    private var next = 0
    private var token = Token.end
    /// The first byte of `token`.
    private var start = 0

    init(_ text: String, _ configuration: EngineConfiguration) {
        bytes = Array(text.utf8)
        self.configuration = configuration
    }

    mutating func parse() throws(DomainError) -> CohortExpression.Node {
        try advance()
        if token == .end { throw .invalid("expression", "is empty; name cohorts, as in 'A and not B'") }
        let node = try alternatives()
        guard token == .end else { throw problem("expected 'and', 'or' or the end, but found \(shown)") }
        return node
    }

    // MARK: Grammar

    private mutating func alternatives() throws(DomainError) -> CohortExpression.Node {
        var nodes = [try conjunction()]
        while isKeyword("or") {
            try advance()
            nodes.append(try conjunction())
        }
        return nodes.count == 1 ? nodes[0] : .any(nodes)
    }

    private mutating func conjunction() throws(DomainError) -> CohortExpression.Node {
        var nodes = [try term()]
        while isKeyword("and") {
            try advance()
            nodes.append(try term())
        }
        return nodes.count == 1 ? nodes[0] : .all(nodes)
    }

    private mutating func term() throws(DomainError) -> CohortExpression.Node {
        if token == .open {
            try descend()
            let opened = start
            try advance()
            let node = try alternatives()
            guard token == .close else {
                throw problem("expected ')' for the '(' at \(position(opened)), but found \(shown)")
            }
            try advance()
            depth -= 1
            return node
        }
        if isKeyword("not") {
            try descend()
            try advance()
            let node = try term()
            depth -= 1
            return .not(node)
        }
        guard case .word(let id) = token, !isKeyword("and"), !isKeyword("or") else {
            throw problem("expected a cohort id, 'not' or '(', but found \(shown)")
        }
        if let rule = InputRules.cohortID(id) { throw problem("'\(id.prefix(64))' is no cohort id: it \(rule)") }
        let place = try place(of: id)
        try advance()
        return .cohort(place)
    }

    private mutating func place(of id: String) throws(DomainError) -> Int {
        if let place = places[id] { return place }
        let limit = configuration.maximumExpressionCohorts
        guard cohorts.count < limit else { throw problem("more than \(limit) cohorts are named") }
        places[id] = cohorts.count
        cohorts.append(id)
        return cohorts.count - 1
    }

    private mutating func descend() throws(DomainError) {
        depth += 1
        let limit = configuration.maximumExpressionNesting
        guard depth <= limit else { throw problem("parentheses and 'not' nest deeper than \(limit) levels") }
    }

    // MARK: Tokens

    private mutating func advance() throws(DomainError) {
        while next < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[next]) { next += 1 }
        start = next
        guard next < bytes.count else { return token = .end }
        switch bytes[next] {
        case UInt8(ascii: "("): token = .open
        case UInt8(ascii: ")"): token = .close
        default:
            while next < bytes.count, Self.isWord(bytes[next]) { next += 1 }
            guard next > start else {
                let rest = String(decoding: bytes[start...], as: UTF8.self)
                throw problem(
                    "'\(String(rest.unicodeScalars.prefix(1)))' has no meaning here; write ids, and, or, not, ( and )"
                )
            }
            return token = .word(String(decoding: bytes[start..<next], as: UTF8.self))
        }
        next += 1
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122, 95: true
        default: false
        }
    }

    private func isKeyword(_ keyword: String) -> Bool {
        guard case .word(let word) = token else { return false }
        return word.lowercased() == keyword
    }

    private var shown: String {
        switch token {
        case .word(let word): "'\(word.prefix(64))'"
        case .open: "'('"
        case .close: "')'"
        case .end: "the end"
        }
    }

    /// In code points, from 1.
    private func position(_ offset: Int) -> Int {
        1 + bytes[..<offset].reduce(0) { $0 + ($1 & 0xc0 == 0x80 ? 0 : 1) }
    }

    private func problem(_ text: String) -> DomainError {
        .invalid("expression", "at \(position(start)): \(text)")
    }
}

/// The bitmaps of some cohorts and of all customers, copied at one sequence.
struct CohortSets {
    /// By place among the expression's cohorts.
    var members: [ChunkedBitmap]
    var unknown: [ChunkedBitmap]
    /// Customers that have been seen and not erased.
    var known: ChunkedBitmap
    var sequence: UInt64
}

extension CohortExpression {
    /// The customers that the expression names.
    ///
    /// A cohort stands for its members, those that are IN. `not` is carried down to the cohorts, where `not C` is everyone
    /// who is not IN C; or, with `notMeansOut`, who is OUT of C, so that UNKNOWN is in neither.
    func evaluate(_ sets: CohortSets, notMeansOut: Bool) -> ChunkedBitmap {
        CohortSetAlgebra(sets: sets, notMeansOut: notMeansOut).set(root, false)
    }
}

/// Works on whole words of the bitmaps. A cohort that is a term by itself is not copied.
private struct CohortSetAlgebra {
    let sets: CohortSets
    let notMeansOut: Bool

    /// The customers of a node, or those of its negation; the caller's own.
    func set(_ node: CohortExpression.Node, _ negated: Bool) -> ChunkedBitmap {
        switch node {
        case .cohort(let place):
            guard negated else { return sets.members[place].copy() }
            let result = sets.known.copy()
            exclude(place, from: result)
            return result
        case .not(let node): return set(node, !negated)
        case .all(let nodes): return negated ? union(nodes, true) : intersection(nodes, false)
        case .any(let nodes): return negated ? intersection(nodes, true) : union(nodes, false)
        }
    }

    private func exclude(_ place: Int, from set: ChunkedBitmap) {
        set.subtract(sets.members[place])
        if notMeansOut { set.subtract(sets.unknown[place]) }
    }

    private func union(_ nodes: [CohortExpression.Node], _ negated: Bool) -> ChunkedBitmap {
        let result = set(nodes[0], negated)
        for node in nodes.dropFirst() {
            if case (.cohort(let place), false) = plain(node, negated) {
                result.formUnion(sets.members[place])
            } else {
                result.formUnion(set(node, negated))
            }
        }
        return result
    }

    private func intersection(_ nodes: [CohortExpression.Node], _ negated: Bool) -> ChunkedBitmap {
        // From a term that is no negated cohort, so that those can be taken away from it.
        let first = nodes.firstIndex {
            if case (.cohort, true) = plain($0, negated) { false } else { true }
        }
        let result = first.map { set(nodes[$0], negated) } ?? sets.known.copy()
        for (i, node) in nodes.enumerated() where i != first {
            switch plain(node, negated) {
            case (.cohort(let place), true): exclude(place, from: result)
            case (.cohort(let place), false): result.formIntersection(sets.members[place])
            default: result.formIntersection(set(node, negated))
            }
        }
        return result
    }

    /// The node without the `not`s about it.
    private func plain(_ node: CohortExpression.Node, _ negated: Bool) -> (CohortExpression.Node, Bool) {
        var (node, negated) = (node, negated)
        while case .not(let inner) = node { (node, negated) = (inner, !negated) }
        return (node, negated)
    }
}

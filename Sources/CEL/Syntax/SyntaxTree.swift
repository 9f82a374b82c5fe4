/// A parsed expression: nodes in an arena, children before parents, so that no depth of nesting costs recursion to free.
struct SyntaxTree: Sendable {
    enum Kind: UInt8, Sendable {
        case literal, identifier, select, has, index, call, method, list, map
        case negate, not, binary, and, or, conditional, comprehension
    }

    enum Operator: UInt8, Sendable {
        case less, lessOrEqual, greater, greaterOrEqual, equal, notEqual, `in`, add, subtract, multiply, divide, modulo

        var symbol: String {
            switch self {
            case .less: "<"
            case .lessOrEqual: "<="
            case .greater: ">"
            case .greaterOrEqual: ">="
            case .equal: "=="
            case .notEqual: "!="
            case .in: "in"
            case .add: "+"
            case .subtract: "-"
            case .multiply: "*"
            case .divide: "/"
            case .modulo: "%"
            }
        }

        var precedence: Int {
            switch self {
            case .less, .lessOrEqual, .greater, .greaterOrEqual, .equal, .notEqual, .in: 3
            case .add, .subtract: 4
            case .multiply, .divide, .modulo: 5
            }
        }
    }

    enum Comprehension: UInt8, Sendable {
        case all, exists, existsOne, map, filter, transformList, transformMap, transformMapEntry
        case bind, optMap, optFlatMap

        var isLoop: Bool { rawValue < Comprehension.bind.rawValue }

        var name: String {
            switch self {
            case .all: "all"
            case .exists: "exists"
            case .existsOne: "exists_one"
            case .map: "map"
            case .filter: "filter"
            case .transformList: "transformList"
            case .transformMap: "transformMap"
            case .transformMapEntry: "transformMapEntry"
            case .bind: "bind"
            case .optMap: "optMap"
            case .optFlatMap: "optFlatMap"
            }
        }
    }

    struct Node: Sendable {
        var kind: Kind
        /// The operator or comprehension, or for select, has and index 1 where it is optional, for identifier and call
        /// 1 where a dot leads it.
        var detail: UInt8 = 0
        /// The source range in bytes, and where an error is shown.
        var start: Int32
        var end: Int32
        var position: Int32
        /// A literal's constant; the name of an identifier, field, function or first variable; for list and map the
        /// place in `optionals` or -1.
        var payload: Int32 = -1
        /// The second variable's name, or -1.
        var payload2: Int32 = -1
        /// The children: a range of `children`.
        var first: Int32 = 0
        var count: Int32 = 0
    }

    var nodes: [Node] = []
    var children: [Int32] = []
    var names: [String] = []
    var constants: [Value] = []
    /// For list and map literals with `?` entries, which entries have it.
    var optionals: [[Bool]] = []
    var root: Int32 = 0

    subscript(node: Int32) -> Node { nodes[Int(node)] }

    @inline(__always)
    func child(_ node: Int32, _ place: Int) -> Int32 { children[Int(nodes[Int(node)].first) + place] }

    func childCount(_ node: Int32) -> Int { Int(nodes[Int(node)].count) }

    func name(_ node: Int32) -> String { names[Int(nodes[Int(node)].payload)] }

    func `operator`(_ node: Int32) -> Operator { Operator(rawValue: nodes[Int(node)].detail) ?? .less }

    func comprehension(_ node: Int32) -> Comprehension { Comprehension(rawValue: nodes[Int(node)].detail) ?? .all }

    func isOptional(_ node: Int32, entry: Int) -> Bool {
        let place = nodes[Int(node)].payload
        return place >= 0 && optionals[Int(place)][entry]
    }
}

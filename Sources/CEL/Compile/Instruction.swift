/// One instruction of a program. The machine has a stack of values, and locals below it.
struct Instruction: Sendable {
    enum Operation: UInt8, Sendable {
        /// Go to `b` where the top is this bool, which stays; otherwise go on, and the top stays too.
        case jumpIfTrue, jumpIfFalse
        /// Combine the top two as `||` or `&&`; then, if that is decisive, go to `b`. `count` is 1 for a chain's last.
        case or, and
        case not
        case jump
        /// Push constant `a`.
        case constant
        /// Push slot `a`, an error where it is absent.
        case slot
        /// Push slot `a` as an optional.
        case slotOptional
        /// Push slot `a` and go to `b`, or go on where it is absent.
        case slotOr
        /// Push whether slot `a` is present.
        case hasSlot
        /// Push local `a`.
        case local
        /// Compare slot `a` with an immediate of the type named; the operator is in `detail`.
        case compareSlotInt, compareSlotDouble
        /// Compare slot or local `a` with the string that is constant `b`; `detail` is 1 for `!=`.
        case equalSlotString, equalLocalString
        /// Search slot or local `a` for the string that is constant `b`; `detail` is `startsWith`, `endsWith` or `contains`.
        case searchSlot, searchLocal
        /// Take the top as the operand of a selection of the field that is constant `a`; `detail` is 1 for `.?`.
        case select
        case has
        /// `detail` is 1 for `[?`.
        case index
        /// Make a list or map of the top `count` values or entries; constant `a` says which are
        /// optional, unless it is -1.
        case list, map
        case negate
        /// The operator is in `detail`.
        case compare, arithmetic
        /// Pop the condition: go on if true, to `a` if false; leave an error and go to `b` otherwise.
        case branch
        /// Call builtin `detail` with the top `count` values.
        case call
        /// Call host function `a` from site `b` with the top `count` values.
        case callHost
        /// Push the value of lookup `a`, an error where it is unknown.
        case lookup
        /// Replace the string on top by whether pattern `a` matches it.
        case match
        /// Pop a range into the locals from `a`; go to `b` with an error on the stack where it is none.
        case loopBegin
        /// Set the variables from local `a` + 3 on, one or two as `detail` says, or go to `b` where the range is at its end.
        case loopNext
        /// Pop a condition: go on if true, to `b` if not.
        case loopFilter
        /// Pop the body's value into the result of comprehension `detail`, and go to `b`.
        case loopBody
        /// Push the result of comprehension `detail` and clear the locals.
        case loopEnd
        /// Pop into local `a`.
        case setLocal
        case clearLocal
        /// Pop an optional: its value into local `a`, or go to `b` with the empty one or an error on the stack.
        case optionalBegin
        /// Wrap the top in an optional.
        case optionalWrap
        /// Fail unless the top is an optional.
        case optionalCheck
        /// Go to `b` where the optional on top has a value: with it, or for `detail` 1 with the optional. Otherwise pop.
        case optionalOr

        /// The cost units besides those for what is gone through: connectives and constants are free, see ``Decision``.
        @inline(__always)
        var cost: Int { rawValue <= Operation.constant.rawValue ? 0 : 1 }
    }

    var operation: Operation
    var detail: UInt8 = 0
    var count: UInt16 = 0
    var a: Int32 = 0
    /// A jump's target, a constant, or an immediate's bits.
    var b: Int64 = 0

    var target: Int { Int(b) }
}

/// A compiled expression.
final class Code: Sendable {
    let source: String
    let map: SourceMap
    let tree: SyntaxTree
    let references: [Reference]
    let type: ValueType
    let instructions: [Instruction]
    /// The node that each instruction computes, -1 for none.
    let nodes: [Int32]
    let constants: [Value]
    let patterns: [Pattern]
    let folded: [Int32: Value]
    let slots: [Int]
    let slotNames: [String]
    let isRecord: Bool
    let hostCalls: [HostCall]
    let lookups: [Lookup]
    /// The cost units of each host function.
    let hostCosts: [Int]
    let localCount: Int
    let stackDepth: Int
    let limits: Limits
    let worstCaseCost: UInt64
    /// The rule's ``Decision``, if it has one.
    let tests: [Decision.Test]
    let entry: Int32

    init(_ generator: CodeGenerator, slots: [Int], source: String, map: SourceMap) {
        self.source = source
        self.map = map
        tree = generator.checked.tree
        references = generator.checked.references
        type = generator.checked.resultType
        instructions = generator.instructions
        nodes = generator.nodes
        constants = generator.constants
        patterns = generator.patterns
        folded = generator.folded
        self.slots = slots
        let environment = generator.environment
        isRecord = environment.record != nil
        slotNames = environment.record.map { $0.schema.fields.map(\.name) } ?? environment.variables.map(\.name)
        hostCalls = generator.hostCalls
        let tree = tree
        lookups = generator.checked.lookups.map { node, name, number in
            Lookup(
                function: tree.name(node),
                name: name,
                number: Int(number),
                position: map.position(Int(tree[node].position))
            )
        }
        hostCosts = environment.functions.map(\.cost)
        localCount = generator.checked.localCount
        stackDepth = generator.maximumDepth
        limits = environment.limits
        worstCaseCost = generator.cost
        let decision = generator.decision()
        tests = decision?.tests ?? []
        entry = decision?.entry ?? Decision.none
    }
}

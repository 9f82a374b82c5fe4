/// Turns a pattern's tree into steps. Repetitions are written out, so their number is checked as they grow.
struct PatternCompiler {
    let limit: Int
    private(set) var steps: [Pattern.Step] = []

    init(limit: Int) {
        self.limit = limit
    }

    @discardableResult
    mutating func emit(_ step: Pattern.Step) throws(PatternError) -> Int {
        guard steps.count < limit else {
            throw PatternError(message: "the pattern needs more than \(limit) steps", offset: 0)
        }
        steps.append(step)
        return steps.count - 1
    }

    mutating func compile(_ node: PatternNode) throws(PatternError) {
        switch node {
        case .empty: break
        case .literal(let code): try emit(.one(code))
        case .set(let set): try emit(.set(set))
        case .any(let newline): try emit(newline ? .any : .anyButNewline)
        case .assertion(let assertion): try emit(.assert(assertion))
        case .sequence(let parts): for part in parts { try compile(part) }
        case .alternatives(let branches):
            var jumps: [Int] = []
            for branch in branches.dropLast() {
                let split = try emit(.split(0, 0))
                try compile(branch)
                jumps.append(try emit(.jump(0)))
                steps[split] = .split(Int32(split + 1), Int32(steps.count))
            }
            if let last = branches.last { try compile(last) }
            for jump in jumps { steps[jump] = .jump(Int32(steps.count)) }
        case .repetition(let inner, let minimum, let maximum):
            // An empty body repeated is itself, however often.
            for _ in 0..<minimum {
                let before = steps.count
                try compile(inner)
                if steps.count == before { return }
            }
            guard let maximum else {
                let split = try emit(.split(0, 0))
                try compile(inner)
                try emit(.jump(Int32(split)))
                steps[split] = .split(Int32(split + 1), Int32(steps.count))
                return
            }
            var splits: [Int] = []
            for _ in minimum..<maximum {
                splits.append(try emit(.split(0, 0)))
                try compile(inner)
            }
            for split in splits { steps[split] = .split(Int32(split + 1), Int32(steps.count)) }
        }
    }
}

/// A regular expression in RE2's syntax, matched by a Pike machine in time linear in the text.
///
/// Sources: R. Cox, Regular Expression Matching: the Virtual Machine Approach (https://swtch.com/~rsc/regexp/regexp2.html);
/// syntax https://github.com/google/re2/wiki/Syntax. Only whether a pattern matches anywhere is asked, so there are no
/// captures and no priorities among threads: sets of states suffice.
struct Pattern: Sendable {
    enum Step: Sendable {
        /// Consume a code point of a set.
        case set(Int32)
        case one(UInt32)
        case any
        case anyButNewline
        case split(Int32, Int32)
        case jump(Int32)
        case assert(Assertion)
        case match
    }

    enum Assertion: Sendable {
        case textStart, textEnd, lineStart, lineEnd, wordBoundary, notWordBoundary
    }

    private(set) var steps: [Step]
    private(set) var sets: [CharacterSet]

    init(_ text: String, limit: Int) throws(PatternError) {
        var parser = PatternParser(text)
        let root = try parser.parse()
        var compiler = PatternCompiler(limit: limit)
        try compiler.compile(root)
        try compiler.emit(.match)
        steps = compiler.steps
        sets = parser.sets
    }

    /// The cost units of matching a text of so many bytes: one for each eight steps that threads may take.
    func cost(bytes: Int) -> Int {
        let (product, overflow) = (bytes + 1).multipliedReportingOverflow(by: steps.count)
        return overflow ? .max / 2 : product >> 3
    }

    /// Whether the pattern matches anywhere in a text of well-formed UTF-8.
    func matches(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        let count = steps.count
        // Two sparse sets of states, and the stack on which empty transitions are followed.
        return withUnsafeTemporaryAllocation(of: Int32.self, capacity: 5 * count + 2) { memory in
            guard let base = memory.baseAddress else { return false }
            base.initialize(repeating: 0, count: 5 * count + 2)
            var current = States(dense: base, sparse: base + count)
            var next = States(dense: base + 2 * count, sparse: base + 3 * count)
            let stack = base + 4 * count
            var at = 0
            var previous: UInt32?
            while true {
                let (scalar, width) = Self.decode(text, at)
                let place = Place(previous: previous, next: scalar)
                if add(0, &current, stack, place) { return true }
                guard let scalar else { return false }
                let following = Self.decode(text, at + width).0
                next.count = 0
                let after = Place(previous: scalar, next: following)
                for index in 0..<current.count {
                    let state = Int(current.dense[index])
                    guard consumes(steps[state], scalar) else { continue }
                    if add(Int32(state + 1), &next, stack, after) { return true }
                }
                swap(&current, &next)
                previous = scalar
                at += width
            }
        }
    }

    private struct States {
        let dense: UnsafeMutablePointer<Int32>
        let sparse: UnsafeMutablePointer<Int32>
        var count = 0

        /// Adds a state; false where it is there already.
        @inline(__always)
        mutating func insert(_ state: Int32) -> Bool {
            let place = Int(sparse[Int(state)])
            if place < count, dense[place] == state { return false }
            dense[count] = state
            sparse[Int(state)] = Int32(count)
            count += 1
            return true
        }
    }

    private struct Place {
        var previous: UInt32?
        var next: UInt32?
    }

    @inline(__always)
    private func consumes(_ step: Step, _ scalar: UInt32) -> Bool {
        switch step {
        case .one(let wanted): wanted == scalar
        case .set(let set): sets[Int(set)].contains(scalar)
        case .any: true
        case .anyButNewline: scalar != 10
        default: false
        }
    }

    /// Adds a state and those that it reaches without consuming; true where the match is among them.
    private func add(
        _ state: Int32,
        _ states: inout States,
        _ stack: UnsafeMutablePointer<Int32>,
        _ place: Place
    ) -> Bool {
        // Each state is pushed at most once per set, so the stack is large enough.
        guard states.insert(state) else { return false }
        var depth = 1
        stack[0] = state
        while depth > 0 {
            depth -= 1
            let state = stack[depth]
            switch steps[Int(state)] {
            case .match: return true
            case .jump(let target):
                if states.insert(target) {
                    stack[depth] = target
                    depth += 1
                }
            case .split(let a, let b):
                if states.insert(b) {
                    stack[depth] = b
                    depth += 1
                }
                if states.insert(a) {
                    stack[depth] = a
                    depth += 1
                }
            case .assert(let assertion):
                if Self.holds(assertion, place), states.insert(state + 1) {
                    stack[depth] = state + 1
                    depth += 1
                }
            default: break
            }
        }
        return false
    }

    private static func holds(_ assertion: Assertion, _ place: Place) -> Bool {
        switch assertion {
        case .textStart: place.previous == nil
        case .textEnd: place.next == nil
        case .lineStart: place.previous == nil || place.previous == 10
        case .lineEnd: place.next == nil || place.next == 10
        case .wordBoundary: isWord(place.previous) != isWord(place.next)
        case .notWordBoundary: isWord(place.previous) == isWord(place.next)
        }
    }

    private static func isWord(_ scalar: UInt32?) -> Bool {
        guard let scalar, scalar < 128 else { return false }
        return isIdentifierPart(UInt8(scalar))
    }

    @inline(__always)
    private static func decode(_ text: UnsafeBufferPointer<UInt8>, _ at: Int) -> (UInt32?, Int) {
        guard at < text.count else { return (nil, 0) }
        let first = UInt32(text[at])
        if first < 0x80 { return (first, 1) }
        func rest(_ place: Int) -> UInt32 { at + place < text.count ? UInt32(text[at + place] & 0x3F) : 0 }
        if first < 0xE0 { return ((first & 0x1F) << 6 | rest(1), 2) }
        if first < 0xF0 { return ((first & 0x0F) << 12 | rest(1) << 6 | rest(2), 3) }
        return ((first & 0x07) << 18 | rest(1) << 12 | rest(2) << 6 | rest(3), 4)
    }
}

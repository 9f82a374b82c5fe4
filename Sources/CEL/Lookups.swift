/// A boolean-valued function of one literal text, whose results the host looks up before an evaluation:
/// `in_group("STAFF")`.
///
/// Unlike a function of ``FunctionDeclaration``, a lookup is never called. When an expression is compiled, the host turns
/// each literal into a number (``LookupResolver``); ``Program/lookups`` says which numbers an expression refers to; and an
/// evaluation reads the values that the host supplies by number next to the record. So a lookup costs as much as reading a
/// bool of the record: one cost unit and no allocation. All lookup functions of an environment share one range of numbers.
public struct LookupDeclaration: Sendable, Hashable {
    /// The name, which may be qualified.
    public var name: String

    /// A lookup of this name.
    public init(name: String) { self.name = name }
}

/// What the host knows of one number.
public enum LookupValue: UInt8, Sendable, Hashable {
    /// Not known: reading it is the error ``EvaluationError/Code/lookupUnknown``, which `&&` and `||` absorb as any other.
    /// Numbers past the end of the values are unknown as well.
    case unknown
    case no
    case yes
}

/// Turns the literal of a lookup into a number from 0 to `Int32.max` while an expression is compiled.
///
/// - Parameters:
///   - function: The place of the lookup among ``Environment/lookups``.
///   - name: The literal.
/// - Throws: ``LookupRefusal``, which becomes a ``CompilationError`` at the literal.
public typealias LookupResolver = (_ function: Int, _ name: String) throws(LookupRefusal) -> Int

/// Why a host does not accept the literal of a lookup.
public struct LookupRefusal: Error, Sendable, Hashable {
    /// What is wrong, without position.
    public var message: String
    /// What to write instead, where that is known.
    public var suggestion: String?

    /// A refusal in these words.
    public init(_ message: String, suggestion: String? = nil) {
        self.message = message
        self.suggestion = suggestion
    }
}

/// A lookup in a program.
public struct Lookup: Sendable, Hashable {
    /// The function's name.
    public var function: String
    /// The literal.
    public var name: String
    /// What the host turned it into.
    public var number: Int
    /// Where in the source the function is called.
    public var position: SourcePosition
}

extension Checker {
    /// Checks the one literal of a lookup and has the host resolve it.
    mutating func lookup(_ node: Int32, _ function: Int, _ name: String, _ arguments: [Int32]) {
        set(node, .bool)
        guard arguments.count == 1 else {
            return report("\(name)() takes one text", at: node, suggestion: "write \(name)(\"NAME\")")
        }
        let argument = arguments[0]
        guard tree[argument].kind == .literal, case .string(let text) = tree.constants[Int(tree[argument].payload)]
        else {
            return report(
                at: argument,
                "\(name)() takes a literal text, not a computed value",
                suggestion: "write \(name)(\"NAME\")"
            )
        }
        guard let resolver else { return report("\(name)() cannot be resolved here", at: node) }
        do throws(LookupRefusal) {
            let number = try resolver(function, text)
            guard let number = Int32(exactly: number), number >= 0 else {
                return report(at: argument, "\(name)(\"\(text)\") cannot be resolved here")
            }
            refer(node, .lookup(number))
            result.lookups.append((node, text, number))
        } catch {
            report(at: argument, error.message, suggestion: error.suggestion)
        }
    }
}

extension Evaluation {
    /// The value of a lookup, an error where it is unknown.
    @inline(__always)
    func lookup(_ number: Int32) -> Value {
        guard Int(number) < lookups.count else { return .failure(.lookupUnknown) }
        switch lookups[Int(number)] {
        case .yes: return .bool(true)
        case .no: return .bool(false)
        case .unknown: return .failure(.lookupUnknown)
        }
    }
}

/// What an expression may cost, so that none can harm who compiles or evaluates it.
public struct Limits: Sendable, Hashable {
    /// The longest source in bytes of UTF-8; 8,192.
    public var sourceBytes = 8_192
    /// How deep brackets, calls, literals and conditionals may nest, from 1 to 128; 64. With 128 a thread needs a
    /// stack of 512 KiB.
    public var nesting = 64
    /// How many nodes the syntax tree may have; 4,096.
    public var nodes = 4_096
    /// How deep comprehensions (`all`, `exists`, `map`, ...) may nest; 2.
    public var comprehensionNesting = 2
    /// How many elements or entries a list or map literal may have; 1,024.
    public var literalElements = 1_024
    /// The longest string or byte sequence that an evaluation may build, in bytes of UTF-8; 65,536.
    public var stringBytes = 65_536
    /// The longest list or map that an evaluation may build; 10,000.
    public var listElements = 10_000
    /// How many cost units an evaluation may use; 10,000. One unit is about one instruction or 16 bytes of text.
    public var cost = 10_000
    /// Whether `matches` takes only a literal as its pattern; true.
    public var literalPatternsOnly = true
    /// How many instructions a compiled pattern may have; 1,000.
    public var patternInstructions = 1_000

    /// The defaults.
    public static let `default` = Limits()

    /// The defaults, to be changed.
    public init() {}
}

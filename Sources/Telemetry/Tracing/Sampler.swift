/// Chooses traces by chance, without any state that threads would share.
package struct Sampler: Sendable {
    private let seed: UInt64
    /// Of 2^64.
    private let threshold: UInt64
    private let takesAll: Bool

    /// - Parameters:
    ///   - ratio: The part that is chosen, 0 to 1.
    ///   - seed: Keeps the choice from being foretold.
    package init(ratio: Double, seed: UInt64 = .random(in: .min ... .max)) {
        self.seed = seed
        takesAll = ratio >= 1
        threshold = ratio <= 0 || takesAll ? 0 : UInt64(ratio * 18_446_744_073_709_551_616.0)
    }

    /// Whether the thing of these numbers is chosen.
    @inline(__always)
    package func chooses(_ first: UInt64, _ second: UInt64) -> Bool {
        if takesAll { return true }
        if threshold == 0 { return false }
        return Self.mixed(first ^ seed, second) < threshold
    }

    /// The finalizer of SplitMix64 (Steele, Lea, Flood 2014) over both numbers.
    @inline(__always)
    package static func mixed(_ first: UInt64, _ second: UInt64) -> UInt64 {
        var z = first &+ (second &+ 1) &* 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

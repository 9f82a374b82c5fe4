/// SplitMix64, so that a failure can be had again from its seed (Steele, Lea, Flood 2014).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Small changes to bytes, as a fuzzer makes them.
enum Mutation {
    static func apply(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let at = bytes.isEmpty ? 0 : Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0 where !bytes.isEmpty: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1 where !bytes.isEmpty: bytes[at] = UInt8.random(in: 0...255, using: &random)
            case 2 where !bytes.isEmpty: bytes.removeSubrange(at..<min(bytes.count, at + 3))
            case 3: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
            case 4: bytes.insert(contentsOf: [0x1B, 0x08, 0x01, 0x1C], at: at)
            default:
                bytes.append(contentsOf: [0xFF, 0xFF, 0xFF, 0xFF, 0x0F].prefix(Int.random(in: 1...5, using: &random)))
            }
        }
    }
}

/// A keyed 64-bit hash of short byte strings, by folded 64x64-bit multiplication (the construction of wyhash and its
/// kin, written anew). The key is random, so that ids cannot be chosen to collide.
struct IdentifierHash: Sendable {
    private let k0: UInt64
    private let k1: UInt64
    private let k2: UInt64

    init() {
        var random = SystemRandomNumberGenerator()
        self.init(k0: random.next(), k1: random.next(), k2: random.next())
    }

    init(k0: UInt64, k1: UInt64, k2: UInt64) {
        // An odd key never folds to zero by itself.
        (self.k0, self.k1, self.k2) = (k0 | 1, k1 | 1, k2 | 1)
    }

    @inline(__always)
    func callAsFunction(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var state = k0 ^ UInt64(bytes.count)
        var i = 0
        while i + 16 <= bytes.count {
            state = Self.fold(
                bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self) ^ k1 ^ state,
                bytes.loadUnaligned(fromByteOffset: i + 8, as: UInt64.self) ^ k2
            )
            i += 16
        }
        var a: UInt64 = 0
        var b: UInt64 = 0
        if i + 8 <= bytes.count {
            a = bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self)
            i += 8
        }
        var shift: UInt64 = 0
        while i < bytes.count {
            b |= UInt64(bytes[i]) << shift
            shift += 8
            i += 1
        }
        return Self.fold(Self.fold(a ^ k2 ^ state, b ^ k1), k0 ^ state)
    }

    @inline(__always)
    private static func fold(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low
    }
}

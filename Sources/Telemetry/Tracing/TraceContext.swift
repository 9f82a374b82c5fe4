import Foundation
import Synchronization

/// 16 bytes that name a trace; never all zero.
package struct TraceID: Sendable, Hashable {
    package var high: UInt64
    package var low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    package static func random() -> TraceID { TraceID(high: RandomNumbers.next(), low: max(1, RandomNumbers.next())) }

    package var isValid: Bool { high != 0 || low != 0 }
    var data: Data { high.bigEndianBytes + low.bigEndianBytes }
}

/// 8 bytes that name a span in its trace; never all zero.
package struct SpanID: Sendable, Hashable {
    package var value: UInt64

    package init(_ value: UInt64) { self.value = value }

    package static func random() -> SpanID { SpanID(max(1, RandomNumbers.next())) }

    package var isValid: Bool { value != 0 }
    var data: Data { value.bigEndianBytes }
}

/// Numbers for names, not for secrets: SplitMix64 (Steele, Lea, Flood 2014) from where chance has put this process. The system is
/// not asked for each of them, for that is a call into the kernel.
private enum RandomNumbers {
    private static let state = Atomic<UInt64>(.random(in: .min ... .max))

    static func next() -> UInt64 {
        Sampler.mixed(state.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue, 0)
    }
}

extension TraceID: CustomStringConvertible {
    /// 32 hexadecimal digits, as `traceparent` has them.
    package var description: String { high.hexDigits + low.hexDigits }
}

extension SpanID: CustomStringConvertible {
    /// 16 hexadecimal digits, as `traceparent` has them.
    package var description: String { value.hexDigits }
}

/// A span as others are told of it, by the headers of the W3C recommendation Trace Context, level 1.
package struct TraceContext: Sendable, Hashable {
    package var traceID: TraceID
    package var spanID: SpanID
    package var isSampled: Bool
    /// What other tracers have to say to each other, valid as it is; empty for nothing.
    package var state: String

    package init(traceID: TraceID, spanID: SpanID, isSampled: Bool, state: String = "") {
        self.traceID = traceID
        self.spanID = spanID
        self.isSampled = isSampled
        self.state = state
    }

    package static let parentHeader = "traceparent"
    package static let stateHeader = "tracestate"

    /// What a `traceparent` says; nil for one that the recommendation has a receiver ignore.
    package init?(parent text: String) {
        // `version-trace-parent-flags`; a later version may have more after another hyphen.
        var text = text
        let parsed = text.withUTF8 { bytes -> (TraceID, SpanID, UInt8)? in
            guard bytes.count >= 55, let version = hex(bytes, 0..<2), version != 0xff else { return nil }
            guard version == 0 ? bytes.count == 55 : bytes.count == 55 || bytes[55] == hyphen else { return nil }
            guard bytes[2] == hyphen, bytes[35] == hyphen, bytes[52] == hyphen,
                let high = hex(bytes, 3..<19), let low = hex(bytes, 19..<35),
                let span = hex(bytes, 36..<52), let flags = hex(bytes, 53..<55)
            else { return nil }
            return (TraceID(high: high, low: low), SpanID(span), UInt8(flags))
        }
        guard let (traceID, spanID, flags) = parsed, traceID.isValid, spanID.isValid else { return nil }
        self.init(traceID: traceID, spanID: spanID, isSampled: flags & 1 == 1)
    }

    /// The `traceparent` of the span, version 00.
    package var parentText: String { "00-\(traceID)-\(spanID)-\(isSampled ? "01" : "00")" }
}

private let hyphen = UInt8(ascii: "-")

/// Lower-case digits alone, at most 16 of them.
private func hex(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> UInt64? {
    var value: UInt64 = 0
    for byte in bytes[range] {
        switch byte {
        case 0x30...0x39: value = value << 4 | UInt64(byte - 0x30)
        case 0x61...0x66: value = value << 4 | UInt64(byte - 0x61 + 10)
        default: return nil
        }
    }
    return value
}

extension UInt64 {
    fileprivate var hexDigits: String {
        let digits = String(self, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    fileprivate var bigEndianBytes: Data { withUnsafeBytes(of: bigEndian) { Data($0) } }
}

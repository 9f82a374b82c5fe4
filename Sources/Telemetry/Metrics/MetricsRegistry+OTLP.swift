package import NIOCore
package import OTLP
import SwiftProtobuf
import Synchronization

extension MetricsRegistry {
    /// Every metric as it is now, as bytes of an `OTLPMetricsData`: totals since the start. Distributions without a value are
    /// left out.
    ///
    /// - Parameter now: Nanoseconds since 1970.
    package func serialized(now: UInt64 = WallClock.now()) -> ByteBuffer {
        // Instruments are read outside of the lock, so that nobody who makes a handle waits for it.
        let families = state.withLock { $0.families }
        var encoder = MetricsEncoder(startedAt: startedAt, now: now)
        for (key, family) in families.sorted(by: { ($0.key.name, "\($0.key.kind)") < ($1.key.name, "\($1.key.kind)") })
        {
            encoder.append(key, family.ordered, descriptions[key.name])
        }
        return encoder.finish(resource: resource, scope: scope)
    }

    /// The same as a message.
    package func snapshot(now: UInt64 = WallClock.now()) -> OTLPMetricsData {
        // Bytes of our own making are never refused.
        (try? OTLPMetricsData(serializedBytes: serialized(now: now).readableBytesSpan)) ?? OTLPMetricsData()
    }
}

extension OTLPKeyValue {
    init(_ key: String, _ value: String) {
        self.init()
        self.key = key
        self.value.stringValue = value
    }
}

import NIOCore
import OTLP
import RPC
import SwiftProtobuf

/// Writes metrics as the bytes of `opentelemetry.proto.metrics.v1.MetricsData`, fields in order of number.
///
/// A server of ten thousand series is scraped every few seconds. As objects, its data points cost five times the processor;
/// what is around them is written as objects.
struct MetricsEncoder {
    private let startedAt: UInt64
    private let now: UInt64
    // Metrics so far, and the data of the one that is written: kept, so that its room is.
    private var metrics = ByteBuffer()
    private var data = ByteBuffer()

    init(startedAt: UInt64, now: UInt64) {
        self.startedAt = startedAt
        self.now = now
    }

    /// The field `attributes` of a data point of this kind.
    static func attributes(_ attributes: MetricsRegistry.Attributes, of kind: MetricsRegistry.Kind) -> [UInt8] {
        let field: UInt8 = if case .histogram = kind { 9 } else { 7 }
        var buffer = ByteBuffer()
        for pair in attributes.pairs {
            let bytes = OTLPKeyValue(pair[0], pair[1]).bytes
            buffer.writeHeader(field, length: bytes.count)
            buffer.writeBytes(bytes)
        }
        return Array(buffer.readableBytesView)
    }

    /// The field `explicit_bounds` of a data point.
    static func bounds(_ bounds: [Double]) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeHeader(7, length: bounds.count * 8)
        for bound in bounds { buffer.writeInteger(bound.bitPattern, endianness: .little) }
        return Array(buffer.readableBytesView)
    }

    /// Appends a metric, unless it has nothing to show.
    mutating func append(
        _ key: MetricsRegistry.FamilyKey,
        _ series: [MetricsRegistry.Series],
        _ description: MetricDescription?
    ) {
        data.clear()
        for one in series {
            switch one.instrument {
            case .total(let total): append(6, UInt64(bitPattern: total.value), since: startedAt, one.encoded)
            case .fractionalTotal(let total): append(4, total.value.bitPattern, since: startedAt, one.encoded)
            case .level(let level): append(4, level.value.bitPattern, since: nil, one.encoded)
            case .histogram(let histogram): append(histogram, one.encoded)
            }
        }
        if data.readableBytes == 0 { return }
        var unit = description?.unit ?? ""
        let field: UInt8
        switch key.kind {
        case .level: field = 5
        case .total, .fractionalTotal:
            field = 7
            let rest = OTLPSum.with {
                $0.aggregationTemporality = .cumulative
                $0.isMonotonic = true
            }
            data.writeBytes(rest.bytes)
        case .histogram(let isDuration):
            field = 9
            data.writeBytes(OTLPHistogram.with { $0.aggregationTemporality = .cumulative }.bytes)
            if isDuration, unit.isEmpty { unit = "s" }
        }
        let head = OTLPMetric.with {
            $0.name = key.name
            $0.unit = unit
            $0.description_p = description?.text ?? ""
        }.bytes
        metrics.writeHeader(
            2,
            length: head.count + ByteBuffer.sizeOfHeader(length: data.readableBytes) + data.readableBytes
        )
        metrics.writeBytes(head)
        metrics.writeHeader(field, length: data.readableBytes)
        metrics.writeImmutableBuffer(data)
    }

    /// The message, with what names the process and what made the metrics.
    consuming func finish(resource: [(String, String)], scope: String) -> ByteBuffer {
        let scopeHead = OTLPScopeMetrics.with { $0.scope.name = scope }.bytes
        let resourceHead = OTLPResourceMetrics.with {
            $0.resource.attributes = resource.map { OTLPKeyValue($0.0, $0.1) }
        }.bytes
        let scopeLength = scopeHead.count + metrics.readableBytes
        let resourceLength = resourceHead.count + ByteBuffer.sizeOfHeader(length: scopeLength) + scopeLength
        var message = ByteBuffer()
        message.reserveCapacity(ByteBuffer.sizeOfHeader(length: resourceLength) + resourceLength)
        message.writeHeader(1, length: resourceLength)
        message.writeBytes(resourceHead)
        message.writeHeader(2, length: scopeLength)
        message.writeBytes(scopeHead)
        message.writeImmutableBuffer(metrics)
        return message
    }

    /// A point with a single number: its field and its bits.
    private mutating func append(_ field: UInt8, _ bits: UInt64, since: UInt64?, _ attributes: [UInt8]) {
        let length = (since == nil ? 18 : 27) + attributes.count
        data.append(atMost: ByteBuffer.sizeOfHeader(length: length) + length) { [now] writer in
            writer.header(1, length: length)
            if let since { writer.fixed64(2, since) }
            writer.fixed64(3, now)
            writer.fixed64(field, bits)
            writer.bytes(attributes)
        }
    }

    /// A point with a distribution, unless it has no value.
    private mutating func append(_ histogram: HistogramInstrument, _ attributes: [UInt8]) {
        let reading = histogram.reading
        let count = reading.count
        guard count > 0 else { return }
        let counts = reading.buckets.count * 8
        let bounds = histogram.scale.encodedBounds
        // Time, value, span and trace.
        let exemplar = 9 + 9 + 10 + 18
        let length =
            4 * 9 + ByteBuffer.sizeOfHeader(length: counts) + counts + bounds.count
            + reading.exemplars.count * (ByteBuffer.sizeOfHeader(length: exemplar) + exemplar) + attributes.count
        data.append(atMost: ByteBuffer.sizeOfHeader(length: length) + length) { [startedAt, now] writer in
            writer.header(1, length: length)
            writer.fixed64(2, startedAt)
            writer.fixed64(3, now)
            writer.fixed64(4, count)
            writer.fixed64(5, reading.sum.bitPattern)
            writer.header(6, length: counts)
            for bucket in reading.buckets { writer.fixed64(bucket) }
            writer.bytes(bounds)
            for one in reading.exemplars {
                writer.header(8, length: exemplar)
                writer.fixed64(2, one.time)
                writer.fixed64(3, (Double(one.ticks) / histogram.scale.ticksPerUnit).bitPattern)
                writer.header(4, length: 8)
                // Identifiers are bytes from the front.
                writer.fixed64(one.context.spanID.value.byteSwapped)
                writer.header(5, length: 16)
                writer.fixed64(one.context.traceID.high.byteSwapped)
                writer.fixed64(one.context.traceID.low.byteSwapped)
            }
            writer.bytes(attributes)
        }
    }
}

extension Message {
    /// Serialized. Messages of strings and numbers cannot fail to be, short of 2 GiB.
    fileprivate var bytes: [UInt8] { (try? serializedBytes()) ?? [] }
}

extension ByteBuffer {
    /// The bytes before a field of this many.
    fileprivate static func sizeOfHeader(length: Int) -> Int {
        1 + max(1, (Int.bitWidth - length.leadingZeroBitCount + 6) / 7)
    }

    /// Begins a field of bytes; its number is less than 16.
    fileprivate mutating func writeHeader(_ field: UInt8, length: Int) {
        append(atMost: Self.sizeOfHeader(length: length)) { $0.header(field, length: length) }
    }
}

extension RawWriter {
    fileprivate mutating func header(_ field: UInt8, length: Int) {
        byte(field << 3 | 2)
        varint(UInt64(length))
    }

    fileprivate mutating func fixed64(_ field: UInt8, _ value: UInt64) {
        byte(field << 3 | 1)
        fixed64(value)
    }
}

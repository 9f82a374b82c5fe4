import CoreMetrics
import Foundation
import Synchronization

/// A distribution over fixed buckets. Recording takes no lock and allocates nothing.
package final class HistogramInstrument: RecorderHandler, TimerHandler {
    /// A value, and the span in which it was recorded.
    package struct Exemplar: Sendable {
        package var context: TraceContext
        package var ticks: Int64
        /// Nanoseconds since 1970.
        package var time: UInt64
    }

    let scale: HistogramScale
    // The buckets, then the sum of all values in ticks.
    private let cells: ShardedCells
    private let exemplars: Mutex<[Exemplar?]>

    init(_ scale: HistogramScale) {
        self.scale = scale
        cells = ShardedCells(width: scale.buckets + 1)
        exemplars = Mutex(Array(repeating: nil, count: scale.buckets))
    }

    /// Records a value in ticks of the scale; one below zero counts as zero.
    @inline(__always)
    package func record(ticks: Int64) {
        let ticks = max(0, ticks)
        let here = cells.here
        (here + scale.bucket(ticks)).pointee.wrappingAdd(1, ordering: .relaxed)
        (here + (cells.width - 1)).pointee.wrappingAdd(ticks, ordering: .relaxed)
    }

    /// Records a value and keeps it as its bucket's exemplar, unless somebody else is just doing that or reads them.
    package func record(ticks: Int64, in context: TraceContext) {
        record(ticks: ticks)
        let exemplar = Exemplar(context: context, ticks: max(0, ticks), time: WallClock.now())
        _ = exemplars.withLockIfAvailable { $0[scale.bucket(exemplar.ticks)] = exemplar }
    }

    package func recordNanoseconds(_ duration: Int64) {
        record(ticks: scale === HistogramScale.durations ? duration : ticks(Double(duration) / 1e9))
    }

    package func record(_ value: Int64) { record(ticks: ticks(Double(value))) }
    package func record(_ value: Double) { record(ticks: ticks(value)) }

    private func ticks(_ value: Double) -> Int64 {
        // Not a number counts as nothing; what is too large for the sum as 2^53.
        value.isNaN ? 0 : Int64(min(max(value * scale.ticksPerUnit, 0), 9_007_199_254_740_992).rounded())
    }

    package struct Reading {
        package var buckets: [UInt64]
        package var sum: Double
        package var exemplars: [Exemplar]
        package var count: UInt64 { buckets.reduce(0, +) }
    }

    package var reading: Reading {
        Reading(
            buckets: (0..<scale.buckets).map { UInt64(max(0, cells.sum($0))) },
            sum: Double(cells.sum(cells.width - 1)) / scale.ticksPerUnit,
            exemplars: exemplars.withLock { $0.compactMap { $0 } }
        )
    }
}

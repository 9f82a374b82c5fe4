import CoreMetrics
import Synchronization

/// A total of whole numbers.
final class TotalInstrument: CounterHandler {
    private let cells = ShardedCells(width: 1)

    func increment(by amount: Int64) { cells.here.pointee.wrappingAdd(amount, ordering: .relaxed) }
    func reset() { cells.reset() }
    var value: Int64 { cells.sum(0) }
}

/// A number that is set, added to and taken from: a total of fractions, or a value now.
final class LevelInstrument: FloatingPointCounterHandler, MeterHandler, RecorderHandler {
    private let bits = Atomic<UInt64>(Double(0).bitPattern)

    var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

    func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    func set(_ value: Int64) { set(Double(value)) }
    func record(_ value: Double) { set(value) }
    func record(_ value: Int64) { set(Double(value)) }
    func reset() { set(0.0) }
    func decrement(by amount: Double) { increment(by: -amount) }

    func increment(by amount: Double) {
        var old = bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (exchanged, seen) = bits.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            if exchanged { return }
            old = seen
        }
    }
}

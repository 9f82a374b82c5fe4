package import Metrics

extension Counter {
    /// Counts what a total has grown by since `counted`, and notes it there. A total that has fallen counts nothing.
    ///
    /// A growth of 0 is counted too: it makes a backend show the counter from the start.
    package func advance(to total: UInt64, from counted: inout UInt64) {
        increment(by: Int64(clamping: total - min(counted, total)))
        counted = max(counted, total)
    }
}

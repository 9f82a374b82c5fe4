import CohortAPI
import Foundation
import Histogram
import RPC
import SwiftProtobuf
import Synchronization

/// Watches of all cohorts that run as long as a load does, and how long changes take to reach them.
final class WatchCalls: Sendable {
    private struct Counted {
        var events: UInt64 = 0
        var errors: [String: UInt64] = [:]
        var latency = LatencyRecord.makeHistogram()
    }

    private let client: CohortClient
    private let measured: ClosedRange<Date>
    private let counted = Mutex(Counted())

    /// - Parameters:
    ///   - begin: Of the measurement; what arrives before or after it does not count.
    ///   - duration: In seconds.
    init(_ client: CohortClient, from begin: Date, for duration: Double) {
        self.client = client
        measured = begin...begin.addingTimeInterval(duration)
    }

    /// Runs so many until the task is cancelled; one that fails begins again after a second.
    func run(_ count: Int) async {
        await withDiscardingTaskGroup { group in
            for _ in 0..<count {
                group.addTask { [self] in
                    while !Task.isCancelled {
                        await watch()
                        try? await Task.sleep(for: .seconds(1))
                    }
                }
            }
        }
    }

    private func watch() async {
        do throws(RPCError) {
            let call = try await client.history.watchMemberships(.init())
            var messages = call.makeAsyncIterator()
            while let message = try await messages.next(isolation: #isolation) {
                let now = Date()
                guard measured.contains(now) else { continue }
                counted.withLock { counted in
                    counted.events += UInt64(message.events.count)
                    for event in message.events {
                        // By two clocks where server and generator are two machines.
                        let seconds = max(0, now.timeIntervalSince(event.change.time.date))
                        counted.latency.record(UInt64(min(seconds * 1e9, Double(LatencyRecord.longest))))
                    }
                }
            }
        } catch {
            guard !Task.isCancelled else { return }
            counted.withLock { $0.errors[error.code.description, default: 0] += 1 }
        }
    }

    /// As a method of a result: events in place of calls, and latencies from their commit to their arrival.
    var method: LoadResult.Method {
        counted.withLock { counted in
            LoadResult.Method(
                method: "WatchMemberships",
                sent: counted.events,
                errors: counted.errors,
                latency: LatencyRecord(counted.latency)
            )
        }
    }
}

import Metrics
import NIOCore
import NIOPosix

/// Measures once a second how long each event loop takes to get to what is asked of it: what every call waits for.
struct EventLoopLag: Sendable {
    private static let period = Duration.seconds(1)

    private let loops: [any EventLoop]
    private let timer = Timer(label: "cohort.eventloop.lag")

    init(_ group: MultiThreadedEventLoopGroup) { loops = Array(group.makeIterator()) }

    /// Until the task is cancelled.
    func run() async {
        while (try? await Task.sleep(for: Self.period)) != nil {
            for loop in loops {
                let asked = NIODeadline.now()
                loop.execute { timer.recordNanoseconds((.now() - asked).nanoseconds) }
            }
        }
    }
}

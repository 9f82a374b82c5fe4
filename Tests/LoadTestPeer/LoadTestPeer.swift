import CohortAPI
import Foundation
import Logging
import NIOPosix
import RPC
import Synchronization

/// A server whose speed is known, to see what a load test makes of it: answers ExplainMembership and nothing else.
///
///     cohort-loadtest-peer CERT KEY delay MILLISECONDS SLOW-EVERY SLOW-MILLISECONDS
///     cohort-loadtest-peer CERT KEY queue SLOTS SERVICE-MILLISECONDS
///
/// `delay` answers after a time, each so-manieth call after another one. `queue` serves calls in the order of their arrival, so many
/// at once, each for the same time: its capacity is SLOTS / SERVICE. Prints its address, and ends by itself after ten minutes.
@main
enum LoadTestPeer {
    static func main() async throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard arguments.count >= 5, let behaviour = Behaviour(Array(arguments.dropFirst(2))) else {
            FileHandle.standardError.write(
                Data("usage: cohort-loadtest-peer CERT KEY delay MS EVERY MS | queue SLOTS MS\n".utf8)
            )
            exit(2)
        }
        var logger = Logger(label: "peer")
        logger.logLevel = .error
        let server = Server(
            configuration: ServerConfiguration(
                listen: Endpoint(host: "127.0.0.1", port: 0),
                tls: ServerTLS(certificateChainPath: arguments[0], privateKeyPath: arguments[1])
            ),
            services: [PeerService(behaviour)],
            eventLoopGroup: MultiThreadedEventLoopGroup(numberOfThreads: 1),
            logger: logger
        )
        print("\(try await server.start())")
        fflush(nil)
        try await Task.sleep(for: .seconds(600))
    }
}

private enum Behaviour {
    case delay(Duration, every: UInt64, slow: Duration)
    case queue(slots: Int, service: Duration)

    init?(_ arguments: [String]) {
        let numbers = arguments.dropFirst().compactMap { Double($0) }
        switch (arguments.first, numbers.count) {
        case ("delay", 3) where numbers[1] >= 1:
            self = .delay(
                .milliseconds(1) * numbers[0],
                every: UInt64(numbers[1]),
                slow: .milliseconds(1) * numbers[2]
            )
        case ("queue", 2) where numbers[0] >= 1:
            self = .queue(slots: Int(numbers[0]), service: .milliseconds(1) * numbers[1])
        default: return nil
        }
    }
}

private final class PeerService: RegistrableService {
    private struct State {
        var calls: UInt64 = 0
        /// When each slot is free, by the calls that it was given.
        var free: [ContinuousClock.Instant]
    }

    private let behaviour: Behaviour
    private let state: Mutex<State>

    init(_ behaviour: Behaviour) {
        self.behaviour = behaviour
        let slots = if case .queue(let slots, _) = behaviour { slots } else { 0 }
        state = Mutex(State(free: Array(repeating: .now, count: slots)))
    }

    func register(with router: inout Router) {
        router.unary(MembershipServiceMethods.explainMembership) {
            [self] (_: ExplainMembershipRequest, _) async throws(RPCError) -> ExplainMembershipResponse in
            let time = answerTime()
            // Timers are late by a tenth of a millisecond; the last of the time is spent looking at the clock.
            try? await Task.sleep(until: time - .microseconds(200), tolerance: .zero)
            while ContinuousClock.now < time {}
            return ExplainMembershipResponse()
        }
    }

    private func answerTime() -> ContinuousClock.Instant {
        let now = ContinuousClock.now
        return state.withLock { state in
            state.calls += 1
            switch behaviour {
            case .delay(let usual, let every, let slow):
                return now.advanced(by: state.calls % every == 0 ? slow : usual)
            case .queue(_, let service):
                let slot = state.free.indices.min { state.free[$0] < state.free[$1] } ?? 0
                state.free[slot] = max(now, state.free[slot]).advanced(by: service)
                return state.free[slot]
            }
        }
    }
}

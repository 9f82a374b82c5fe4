import ArgumentParser
import CohortAPI
import Foundation
import Histogram
import Logging
import NIOCore
import NIOPosix
import RPC
import SwiftProtobuf

extension LoadTest {
    /// A closed loop: each answer starts the next call, so a slow server is asked less. Good for the highest rate; its
    /// percentiles are those of the rate it settles at.
    struct Closed: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "closed",
            abstract: "CheckMembership in a closed loop: every answer starts the next call.",
            discussion: "Uses one thread. Customers are chosen at random among those that 'seed' made."
        )

        @OptionGroup var server: ServerOptions
        @Option(help: "Connections, 1 to 10000.") var connections = 16
        @Option(help: "Calls in flight on each connection, 1 to 10000.") var inFlight = 100
        @Option(help: "Seconds measured, 0.1 to 3600.") var duration = 5.0
        @Option(help: "Seconds before, not measured, 0 to 600.") var warmup = 1.0
        @Option(help: "How many customers were seeded.") var customers = 1_000_000
        @Option(help: "Bytes of an id: 15 or 36.") var idBytes = 36
        @Option(help: "The cohort that was seeded.") var cohort = "LOADTEST"
        @Option(help: "Customers in one BatchCheckMembership, 1 to 10000; 0 sends CheckMembership.") var batch = 0
        @Flag(help: "Print one line of JSON.") var json = false

        func validate() throws {
            guard (1...10_000).contains(connections), (1...10_000).contains(inFlight) else {
                throw ValidationError("--connections and --in-flight take 1 to 10000")
            }
            guard (0...10_000).contains(batch) else { throw ValidationError("--batch takes 0 to 10000") }
            guard (0.1...3_600).contains(duration), (0...600).contains(warmup) else {
                throw ValidationError("--duration takes 0.1 to 3600 seconds, --warmup 0 to 600")
            }
        }

        func run() async throws {
            let population = try Population(customers: customers, idBytes: idBytes)
            let configuration = try server.configuration()
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let loop = group.next()
            let requests = try batch == 0 ? singles(population) : batches(population)
            let context = try configuration.tls.makeContext(offering: configuration.applicationProtocols)
            var open: [ClientConnection] = []
            for _ in 0..<connections {
                open.append(
                    try await ClientConnection.connect(
                        to: configuration.endpoints[0],
                        configuration: configuration,
                        context: context,
                        on: loop,
                        logger: Logger(label: "loadtest")
                    )
                )
            }
            let frozen = open
            let method =
                batch == 0
                ? MembershipServiceMethods.checkMembership : MembershipServiceMethods.batchCheckMembership
            let (inFlight, warmup, duration) = (inFlight, warmup, duration)
            let driver = try await loop.submit {
                let driver = NIOLoopBound(ClosedLoop(method, requests, loop), eventLoop: loop)
                driver.value.start(frozen, inFlight: inFlight, warmup: warmup, duration: duration)
                return driver
            }.get()
            let result = try await loop.flatSubmit { driver.value.result.futureResult }.get()
            for connection in open { connection.close() }
            try await group.shutdownGracefully()
            try report(result)
        }

        // The payloads are made beforehand, so that the generator is not what is measured.

        private func singles(_ population: Population) throws -> [ByteBuffer] {
            var generator = SplitMix64(state: 42)
            return try (0..<min(population.customers, 1 << 18)).map { _ in
                let request = CheckMembershipRequest.with {
                    $0.customerID = population.randomID(&generator)
                    $0.cohortID = cohort
                }
                return ByteBuffer(bytes: try request.serializedBytes() as [UInt8])
            }
        }

        private func batches(_ population: Population) throws -> [ByteBuffer] {
            var generator = SplitMix64(state: 42)
            return try (0..<max(16, (1 << 20) / batch)).map { _ in
                let request = BatchCheckMembershipRequest.with {
                    $0.customerIds = (0..<batch).map { _ in population.randomID(&generator) }
                    $0.cohortIds = [cohort]
                }
                return ByteBuffer(bytes: try request.serializedBytes() as [UInt8])
            }
        }

        private func report(_ result: ClosedLoop.Result) throws {
            let rate = Double(result.calls) / result.seconds
            func micros(_ percentile: Double) -> Double {
                Double(result.histogram.valueAtPercentile(percentile)) / 1_000
            }
            if json {
                print(
                    "{\"connections\":\(connections),\"in_flight\":\(inFlight),\"calls_per_second\":\(Int(rate)),"
                        + "\"p50_us\":\(micros(50)),\"p99_us\":\(micros(99)),\"errors\":\(result.errors),"
                        + "\"members\":\(result.members),\"all_calls\":\(result.allCalls)}"
                )
            } else {
                print(
                    "\(connections)x\(inFlight): \(Int(rate)) calls/s, p50 \(micros(50)) us, p99 \(micros(99)) us, "
                        + "\(result.errors) errors"
                )
            }
            if result.errors > 0 { throw ExitCode(1) }
        }
    }
}

/// Keeps a number of calls in flight on every connection; lives on one event loop.
final class ClosedLoop {
    struct Result: Sendable {
        var calls = 0
        /// Those before the measurement included.
        var allCalls = 0
        var errors = 0
        /// Answers that said IN, to see that the server really answered.
        var members = 0
        var seconds = 0.0
        /// Nanoseconds from the call to its answer.
        var histogram = Histogram<UInt64>(highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .three)
    }

    let result: EventLoopPromise<Result>
    private let requests: [ByteBuffer]
    private let prefix: RequestPrefix
    private let isBatch: Bool
    private var running = Result()
    private var next = 0
    private var measureFrom = NIODeadline.distantFuture
    private var stopAt = NIODeadline.distantFuture
    private var outstanding = 0

    init(_ method: MethodDescriptor, _ requests: [ByteBuffer], _ loop: any EventLoop) {
        prefix = RequestPrefix(method)
        isBatch = method == MembershipServiceMethods.batchCheckMembership
        self.requests = requests
        self.result = loop.makePromise()
    }

    func start(_ connections: [ClientConnection], inFlight: Int, warmup: Double, duration: Double) {
        let now = NIODeadline.now()
        measureFrom = now + .nanoseconds(Int64(warmup * 1e9))
        stopAt = measureFrom + .nanoseconds(Int64(duration * 1e9))
        running.seconds = duration
        for connection in connections {
            for _ in 0..<inFlight { call(connection) }
        }
    }

    private func call(_ connection: ClientConnection) {
        let payload = requests[next]
        next = next + 1 == requests.count ? 0 : next + 1
        outstanding += 1
        let begin = NIODeadline.now()
        let this = NIOLoopBound(self, eventLoop: connection.channel.eventLoop)
        connection.call(prefix, payload: payload) { outcome in
            this.value.ended(outcome, begin, connection)
        }
    }

    private func ended(_ outcome: UnaryOutcome, _ begin: NIODeadline, _ connection: ClientConnection) {
        outstanding -= 1
        running.allCalls += 1
        let now = NIODeadline.now()
        if now >= measureFrom && now < stopAt {
            running.calls += 1
            running.histogram.record(UInt64((now - begin).nanoseconds))
            switch outcome {
            case .failure: running.errors += 1
            case .success(let bytes, _): running.members += isBatch ? Self.members(inBatch: bytes) : Self.member(bytes)
            }
        }
        // On a connection that is gone a call would fail at once, and so on without an end.
        let isGone = if case .failure = outcome { !connection.isUsable } else { false }
        if now < stopAt, !isGone {
            call(connection)
        } else if outstanding == 0 {
            if now < stopAt { running.errors += 1 }
            result.succeed(running)
        }
    }

    /// Field 1, membership, comes first: 1 is IN.
    private static func member(_ bytes: UnsafeRawBufferPointer) -> Int {
        bytes.count >= 2 && bytes[0] == 8 && bytes[1] == 1 ? 1 : 0
    }

    /// Field 1 holds the memberships, a byte each.
    private static func members(inBatch bytes: UnsafeRawBufferPointer) -> Int {
        var reader = WireReader(bytes)
        guard case (1, 2)? = try? reader.tag(), let range = try? reader.lengthDelimited() else { return 0 }
        return bytes[range].count { $0 == 1 }
    }
}

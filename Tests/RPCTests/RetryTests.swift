import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@Suite("Retries", .timeLimit(.minutes(2)))
struct RetryTests {
    private let unavailable = RPCError(.unavailable, "away")

    @Test("the waits grow, with a fifth of jitter on both sides, and end with the attempts")
    func waits() {
        let policy = RetryPolicy()
        func wait(_ attempts: Int, _ random: Double) -> Duration? {
            policy.delay(afterAttempts: attempts, unavailable, timeRemaining: nil, random: random)
        }
        #expect(wait(1, 0.5) == .milliseconds(50))
        #expect(wait(2, 0.5) == .milliseconds(80))
        #expect(wait(1, 0) == .milliseconds(40))
        #expect(wait(3, 0.5) == .milliseconds(128))
        #expect(wait(4, 0.5) == nil)
    }

    @Test("a wait that would outlast the deadline is not begun")
    func deadline() {
        let policy = RetryPolicy()
        let left: Duration = .milliseconds(50)
        #expect(policy.delay(afterAttempts: 1, unavailable, timeRemaining: left, random: 0.5) == nil)
        #expect(policy.delay(afterAttempts: 1, unavailable, timeRemaining: left, random: 0.4) != nil)
    }

    @Test("the server's word counts: when, and that never")
    func pushback() {
        let policy = RetryPolicy()
        func wait(_ error: RPCError) -> Duration? {
            policy.delay(afterAttempts: 1, error, timeRemaining: nil, random: 0)
        }
        #expect(wait(unavailable.withRetryInfo(delay: .seconds(3))) == .seconds(3))
        var error = unavailable
        error.metadata[RetryPolicy.pushbackKey] = "-1"
        #expect(wait(error) == nil)
        error.metadata[RetryPolicy.pushbackKey] = "700"
        #expect(wait(error) == .milliseconds(700))
        let exhausted = RPCError(.resourceExhausted, "slower")
        #expect(wait(exhausted) == nil)
        #expect(wait(exhausted.withPushback(.microseconds(1_500))) == .milliseconds(2))
        #expect(wait(RPCError(.notFound, "no")) == nil)
    }

    @Test("tokens: failures take whole ones, successes give back a tenth, and half of them are kept")
    func throttle() {
        var throttle = RetryThrottle()
        for _ in 0..<4 { throttle.failed() }
        #expect(throttle.allowsRetry)
        throttle.failed()
        #expect(!throttle.allowsRetry)
        throttle.succeeded()
        #expect(throttle.allowsRetry)
        for _ in 0..<100 { throttle.failed() }
        for _ in 0..<50 { throttle.succeeded() }
        #expect(!throttle.allowsRetry)
        throttle.succeeded()
        #expect(throttle.allowsRetry)
    }

    /// Fails the first calls that it sees.
    private final class Failing: ServerInterceptor {
        private let left: Mutex<Int>
        private let error: RPCError
        let seen = Mutex(0)

        init(_ count: Int, _ error: RPCError) {
            left = Mutex(count)
            self.error = error
        }

        func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
            seen.withLock { $0 += 1 }
            let fails = left.withLock { left in
                left -= 1
                return left >= 0
            }
            if fails { throw error }
            return .proceed
        }
    }

    private func attempts(
        failures: Int,
        _ error: RPCError,
        _ method: MethodDescriptor,
        _ change: @escaping @Sendable (inout ClientConfiguration) -> Void = { _ in }
    ) async throws -> (seen: Int, error: RPCError?) {
        let failing = Failing(failures, error)
        var result: RPCError?
        try await withServer(interceptors: [failing]) { harness in
            let client = try harness.client {
                $0.retry?.backoff.initial = .milliseconds(1)
                change(&$0)
            }
            do throws(RPCError) {
                let _: Text = try await client.unary(method, Text("x"), .defaults)
            } catch {
                result = error
            }
            await client.shutdown()
        }
        return (failing.seen.withLock { $0 }, result)
    }

    private static let idempotent = MethodDescriptor(
        service: EchoService.Methods.inline.service,
        method: EchoService.Methods.inline.method,
        kind: .unary,
        isIdempotent: true
    )
    private static let changing = MethodDescriptor(
        service: EchoService.Methods.inline.service,
        method: EchoService.Methods.inline.method,
        kind: .unary
    )

    @Test("an idempotent call is made again until it works, and no other is")
    func retries() async throws {
        let again = try await attempts(failures: 2, unavailable, Self.idempotent)
        #expect(again.seen == 3 && again.error == nil)
        let changing = try await attempts(failures: 2, unavailable, Self.changing)
        #expect(changing.seen == 1 && changing.error?.code == .unavailable)
        let given = try await attempts(failures: 9, unavailable, Self.idempotent)
        #expect(given.seen == 4 && given.error?.code == .unavailable)
        let off = try await attempts(failures: 2, unavailable, Self.idempotent) { $0.retry = nil }
        #expect(off.seen == 1)
    }

    @Test("too many failures open the breaker of the only server: calls are refused here, and tell when to come again")
    func breaker() async throws {
        let failing = Failing(1_000, unavailable)
        try await withServer(interceptors: [failing]) { harness in
            let client = try harness.client {
                $0.retry = nil
                $0.breaker.consecutiveFailures = 3
                $0.breaker.probeInterval = .seconds(600)
                $0.breaker.openTime = .seconds(600)
            }
            for _ in 0..<5 { let _: Text? = try? await client.unary(Self.changing, Text("x"), .defaults) }
            let error = await #expect(throws: RPCError.self) {
                let _: Text = try await client.unary(Self.changing, Text("x"), .defaults)
            }
            #expect(failing.seen.withLock { $0 } == 3)
            #expect(error?.code == .unavailable && error?.errorInfo?.reason == "CIRCUIT_OPEN")
            #expect(error?.retryDelay != nil)
            await client.shutdown()
        }
        // A server that says when to come again works.
        let asked = Failing(1_000, unavailable.withRetryInfo(delay: .seconds(1)))
        try await withServer(interceptors: [asked]) { harness in
            let client = try harness.client {
                $0.retry = nil
                $0.breaker.consecutiveFailures = 3
            }
            for _ in 0..<5 { let _: Text? = try? await client.unary(Self.changing, Text("x"), .defaults) }
            #expect(asked.seen.withLock { $0 } == 5)
            await client.shutdown()
        }
    }
}

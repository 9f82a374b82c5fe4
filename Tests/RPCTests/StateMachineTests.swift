import NIOCore
import RPC
import SwiftProtobuf
import Synchronization
import Testing

/// The values that decide, with time passed in.
@Suite("State machines and policies")
struct StateMachineTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    // MARK: Stream ids

    @Test("every odd id is new once, in any order")
    func seenIDs() {
        var random = SeededGenerator(seed: 4)
        var seen = SeenStreamIDs(maxRanges: 1000)
        var model = Set<UInt32>()
        for _ in 0..<20000 {
            let id = UInt32.random(in: 0..<500, using: &random) * 2 + 1
            #expect(seen.insert(id) == model.insert(id).inserted)
            #expect(seen.contains(id))
        }
        #expect(seen.highest == model.max())
    }

    @Test("gaps beyond the limit are closed from the oldest; memory is bounded")
    func seenIDsBounded() {
        var seen = SeenStreamIDs(maxRanges: 4)
        for index in 0..<10 { #expect(seen.insert(UInt32(index * 4 + 1)) == true) }
        // The latest gaps are still open, the first ones are not.
        let late = seen.insert(35)
        let early = seen.insert(3)
        #expect(late && !early)
        let top = seen.insert(.max)
        let again = seen.insert(.max)
        #expect(top && !again)
    }

    // MARK: Timers

    private func timers() -> ConnectionTimers {
        ConnectionTimers(
            limits: .init(
                handshake: .seconds(10),
                partialFrame: .seconds(30),
                idle: .seconds(900),
                unwritable: .seconds(30)
            ),
            now: start
        )
    }

    @Test("the handshake's time")
    func handshake() {
        var timers = timers()
        #expect(timers.next == start + .seconds(10))
        #expect(timers.expired(now: start + .seconds(9)) == nil)
        #expect(timers.expired(now: start + .seconds(10)) == .handshakeTimeout)
        timers.handshakeCompleted(now: start + .seconds(1))
        #expect(timers.expired(now: start + .seconds(10)) == nil)
        #expect(timers.next == start + .seconds(901))
    }

    @Test("a frame's time runs from its first byte, and is not renewed by more bytes of it")
    func partial() {
        var timers = timers()
        timers.handshakeCompleted(now: start)
        timers.received(insideFrame: true, completedFrame: false, now: start)
        timers.received(insideFrame: true, completedFrame: false, now: start + .seconds(29))
        #expect(timers.expired(now: start + .seconds(30)) == .partialFrameTimeout)
        timers.received(insideFrame: true, completedFrame: true, now: start + .seconds(29))
        #expect(timers.expired(now: start + .seconds(58)) == nil)
        #expect(timers.expired(now: start + .seconds(59)) == .partialFrameTimeout)
        timers.readingPaused()
        #expect(timers.expired(now: start + .seconds(100)) == nil)
    }

    @Test("idle time runs while no call does")
    func idle() {
        var timers = timers()
        timers.handshakeCompleted(now: start)
        timers.received(insideFrame: false, completedFrame: true, now: start + .seconds(100))
        #expect(timers.expired(now: start + .seconds(999)) == nil)
        #expect(timers.expired(now: start + .seconds(1000)) == .idleTimeout)
        timers.busy(true, now: start + .seconds(100))
        #expect(timers.expired(now: start + .hours(10)) == nil)
        timers.busy(false, now: start + .hours(10))
        #expect(timers.expired(now: start + .hours(10) + .seconds(900)) == .idleTimeout)
    }

    @Test("unwritable time runs from the first moment")
    func unwritable() {
        var timers = timers()
        timers.handshakeCompleted(now: start)
        timers.writable(false, now: start)
        timers.writable(false, now: start + .seconds(20))
        #expect(timers.expired(now: start + .seconds(30)) == .unwritableTimeout)
        timers.writable(true, now: start + .seconds(30))
        #expect(timers.expired(now: start + .seconds(60)) == nil)
    }

    // MARK: Server

    @Test("the messages that a Request announces")
    func requestMessages() {
        typealias Machine = ServerConnectionStateMachine
        func check(_ kind: MethodDescriptor.Kind, _ flags: FrameFlags, _ bytes: Int, _ first: Bool, _ open: Bool) {
            let messages = Machine.requestMessages(kind: kind, flags: flags, payloadBytes: bytes)
            #expect(messages.first == first && messages.open == open, "\(kind) \(flags) \(bytes)")
        }
        check(.unary, [], 0, true, false)
        check(.unary, [.remoteOpen], 5, true, false)
        check(.serverStreaming, [.remoteClosed], 0, true, false)
        check(.serverStreaming, [.remoteClosed], 5, true, false)
        check(.serverStreaming, [.remoteOpen, .noData], 0, false, true)
        check(.clientStreaming, [.remoteOpen], 0, false, true)
        check(.clientStreaming, [.remoteOpen, .noData], 0, false, true)
        check(.clientStreaming, [.remoteOpen], 5, true, true)
        check(.bidirectional, [.remoteClosed, .noData], 0, false, false)
        check(.bidirectional, [.remoteOpen], 5, true, true)
    }

    @Test("streams: limit, Data, end, drain")
    func serverMachine() {
        var machine = ServerConnectionStateMachine(maxStreams: 2)
        machine.handshakeCompleted(applicationProtocol: "ttrpc-x1")
        #expect(machine.isExtended == true)
        #expect(machine.request(id: 1) == .accept)
        #expect(machine.request(id: 1) == .invalid("this stream id was used before"))
        #expect(machine.openStream(id: 1, isUnary: true, requestsOpen: false) == true)
        #expect(machine.openStream(id: 3, isUnary: false, requestsOpen: true) == true)
        #expect(machine.openStream(id: 5, isUnary: false, requestsOpen: true) == false)
        #expect(machine.data(id: 1, flags: []) == .violation("a unary call takes no Data frames"))
        #expect(machine.data(id: 3, flags: []) == .deliver(message: true, end: false))
        #expect(machine.data(id: 3, flags: [.remoteClosed, .noData]) == .deliver(message: false, end: true))
        #expect(machine.data(id: 3, flags: []) == .violation("Data after the end of the request stream"))
        #expect(machine.data(id: 7, flags: []) == .dead)
        #expect(machine.drain() == 1)
        #expect(machine.drain() == nil)
        #expect(machine.request(id: 9) == .refuseDraining)
        #expect(machine.isDrained == false)
        machine.streamEnded(id: 1)
        machine.streamEnded(id: 3)
        #expect(machine.isDrained == true)
    }

    // MARK: Client

    @Test("ids count up by two and end; the connection then leaves")
    func clientIDs() {
        var machine = ClientConnectionStateMachine(
            maxCalls: 2,
            keepaliveInterval: nil,
            keepaliveTimeout: .seconds(1),
            now: start
        )
        #expect(machine.nextStreamID() == nil)
        machine.handshakeCompleted(applicationProtocol: nil, now: start)
        #expect(machine.nextStreamID() == 1)
        #expect(machine.isUsable == true)
        #expect(machine.nextStreamID() == 3)
        #expect(machine.isLeaving == true)
        #expect(machine.nextStreamID() == nil)
    }

    @Test("keepalive: silence, PING, PONG or the end")
    func keepalive() {
        var machine = ClientConnectionStateMachine(
            maxCalls: 10,
            keepaliveInterval: .seconds(30),
            keepaliveTimeout: .seconds(10),
            now: start
        )
        machine.handshakeCompleted(applicationProtocol: "ttrpc-x1", now: start)
        #expect(machine.checkKeepalive(now: start + .seconds(29)) == .none)
        #expect(machine.checkKeepalive(now: start + .seconds(30)) == .ping)
        #expect(machine.checkKeepalive(now: start + .seconds(39)) == .none)
        machine.received(now: start + .seconds(39))
        #expect(machine.nextKeepalive == start + .seconds(69))
        #expect(machine.checkKeepalive(now: start + .seconds(69)) == .ping)
        #expect(machine.checkKeepalive(now: start + .seconds(79)) == .giveUp)
        var stock = ClientConnectionStateMachine(
            maxCalls: 10,
            keepaliveInterval: .seconds(30),
            keepaliveTimeout: .seconds(10),
            now: start
        )
        stock.handshakeCompleted(applicationProtocol: nil, now: start)
        #expect(stock.nextKeepalive == nil)
        #expect(stock.checkKeepalive(now: start + .hours(1)) == .none)
    }

    // MARK: Pool

    private func pool(_ endpoints: Int, each: Int = 1) -> ConnectionPoolStateMachine {
        var breaker = CircuitBreaker.Policy()
        breaker.consecutiveFailures = 3
        breaker.halfOpenPermits = 2
        return ConnectionPoolStateMachine(
            endpoints: endpoints,
            connectionsPerEndpoint: each,
            backoff: Backoff(),
            breaker: breaker
        )
    }

    @Test("round robin over what is ready; the rest is connected meanwhile")
    func roundRobin() {
        var pool = pool(3)
        let first = pool.pick(now: start)
        #expect(first.decision == .wait && first.connect == [0, 1, 2])
        #expect(pool.pick(now: start).connect == [])
        pool.connected(0)
        #expect(pool.pick(now: start).decision == .use(0))
        pool.connected(2)
        let picks = (0..<4).map { _ in pool.pick(now: start).decision }
        #expect(picks == [.use(2), .use(0), .use(2), .use(0)])
        pool.lost(2)
        let again = pool.pick(now: start)
        #expect(again.decision == .use(0) && again.connect == [2])
    }

    @Test("a failed connection waits for its backoff; when all wait, calls fail at once")
    func backoffInPool() {
        var pool = pool(1)
        _ = pool.pick(now: start)
        pool.connectFailed(0, now: start, random: 0.5)
        #expect(pool.pick(now: start + .milliseconds(99)).decision == .unavailable(until: start + .milliseconds(100)))
        let retry = pool.pick(now: start + .milliseconds(100))
        #expect(retry.decision == .wait && retry.connect == [0])
        pool.connectFailed(0, now: start, random: 0.5)
        #expect(pool.pick(now: start + .milliseconds(159)).connect == [])
        #expect(pool.pick(now: start + .milliseconds(160)).connect == [0])
    }

    @Test(
        "an endpoint that fails is left out until its breaker tries it again; when all are, one call a second is a probe"
    )
    func breakers() {
        var pool = pool(2)
        _ = pool.pick(now: start)
        pool.connected(0)
        pool.connected(1)
        func call(_ slot: Int, _ outcome: CircuitBreaker.Outcome, _ now: NIODeadline) {
            guard let permit = pool.admit(slot, now: now) else {
                Issue.record("refused")
                return
            }
            pool.record(outcome, took: .zero, permit: permit, on: slot, now: now)
        }
        for _ in 0..<3 { call(0, .failure, start) }
        #expect(pool.breakerState(0) == .open)
        for _ in 0..<4 { #expect(pool.pick(now: start).decision == .use(1)) }
        for _ in 0..<3 { call(1, .failure, start + .seconds(10)) }
        // The first has been open for long enough for a probe, the second has not.
        #expect(pool.pick(now: start + .milliseconds(10_500)).decision == .use(0))
        call(0, .failure, start + .milliseconds(10_500))
        #expect(pool.pick(now: start + .milliseconds(10_600)).decision == .broken(retryAfter: .milliseconds(400)))
        #expect(pool.admit(0, now: start + .milliseconds(11_499)) == nil)
        #expect(pool.pick(now: start + .milliseconds(11_000)).decision == .use(1))
        let later = start + .seconds(12)
        #expect(pool.pick(now: later).decision == .use(0))
        // A probe that succeeds begins the trials.
        call(0, .success, later)
        #expect(pool.breakerState(0) == .halfOpen)
        for _ in 0..<2 {
            #expect(pool.pick(now: later).decision == .use(0))
            call(0, .success, later)
        }
        #expect(pool.breakerState(0) == .closed)
        // A connection that is lost while its breaker is open is made again, and nobody waits for it.
        pool.lost(0)
        #expect(pool.pick(now: later).decision == .wait)
    }

    @Test("backoff grows to its maximum, with jitter on both sides")
    func backoff() {
        let backoff = Backoff()
        #expect(backoff.delay(afterFailures: 0, random: 0.5) == .zero)
        #expect(backoff.delay(afterFailures: 1, random: 0.5) == .milliseconds(100))
        #expect(backoff.delay(afterFailures: 2, random: 0.5) == .milliseconds(160))
        #expect(backoff.delay(afterFailures: 3, random: 0.5) == .milliseconds(256))
        #expect(backoff.delay(afterFailures: 100, random: 0.5) == .seconds(30))
        #expect(backoff.delay(afterFailures: 100, random: 0) == .seconds(24))
        #expect(backoff.delay(afterFailures: 1, random: 0.999) > .milliseconds(119))
    }

    // MARK: Values

    @Test("metadata keeps order and repetition, and lowers keys")
    func metadata() {
        var metadata: Metadata = ["A": "1", "b": "2", "a": "3"]
        #expect(metadata["a"] == "1")
        #expect(metadata.values(for: "A") == ["1", "3"])
        metadata["a"] = "4"
        #expect(metadata.map(\.key) == ["b", "a"])
        metadata["b"] = nil
        #expect(metadata.count == 1)
    }

    @Test("endpoints are parsed and printed", arguments: ["127.0.0.1:80", "[::1]:443", "host.test:0"])
    func endpoints(_ text: String) {
        #expect(Endpoint(text)?.description == text)
    }

    @Test("what is no endpoint is none", arguments: ["", "host", "host:", ":80", "::1:80", "host:70000", "host:-1"])
    func badEndpoints(_ text: String) {
        #expect(Endpoint(text) == nil)
    }

    @Test("certificate names match exactly or by a wildcard for one label")
    func names() {
        let identity = Peer.Identity(subjectNames: [.dns("a.example.org"), .dns("*.b.example.org")])
        #expect(identity.bears(dnsName: "A.example.org"))
        #expect(identity.bears(dnsName: "x.b.example.org"))
        #expect(!identity.bears(dnsName: "b.example.org"))
        #expect(!identity.bears(dnsName: "x.y.b.example.org"))
        #expect(!identity.bears(dnsName: "example.org"))
    }
}

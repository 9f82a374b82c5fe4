import Foundation
import NIOCore
import Synchronization
import Testing

@testable import RPC

extension Role {
    static let read = Role(rawValue: "read")
    static let write = Role(rawValue: "write")
}

/// A clock that stands until it is moved.
private final class TestClock: Sendable {
    private let seconds = Mutex(TestIssuer.now)
    var now: Double { seconds.withLock { $0 } }
    func move(_ by: Double) { seconds.withLock { $0 += by } }
}

@Suite("Authentication")
struct AuthenticationTests {
    private static let method = MethodDescriptor(service: "test", method: "Read", kind: .unary)
    private static let table = MethodRoles(["test/Read": [.read, .write], "test/Write": [.write]])
    private let issuer = TestIssuer()
    private let clock = TestClock()

    private func authenticator(
        _ rules: [AccessPolicy.Rule] = [],
        keys: String? = nil,
        _ change: (inout AuthenticatorConfiguration) -> Void = { _ in }
    ) async throws -> Authenticator {
        var configuration = AuthenticatorConfiguration(methods: Self.table)
        configuration.tokens = TokenRequirements(issuer: TestIssuer.issuer, audience: TestIssuer.audience)
        configuration.clock = { [clock] in clock.now }
        change(&configuration)
        return Authenticator(configuration, policy: AccessPolicy(rules), keys: try await self.keys(keys))
    }

    private func keys(_ text: String?) async throws -> TokenKeys {
        try await TokenKeys(jwks: Data(#"{"keys":[\#(text ?? (try issuer.edKey))]}"#.utf8))
    }

    private func call(
        _ authorization: String? = nil,
        peer: Peer = Peer(address: "10.0.0.1:5", host: "10.0.0.1"),
        at: NIODeadline = .uptimeNanoseconds(1_000_000_000_000)
    ) -> ServerCall {
        ServerCall(
            method: Method(descriptor: Self.method, isKnown: true),
            id: 1,
            metadata: authorization.map { ["authorization": $0] } ?? Metadata(),
            peer: peer,
            receivedAt: at,
            deadline: nil,
            requestBytes: 0
        )
    }

    /// Whether the call had to wait; it is authenticated when this returns.
    @discardableResult
    private func begin(_ authenticator: Authenticator, _ call: ServerCall) async throws(RPCError) -> Bool {
        switch try AuthenticationInterceptor(authenticator).begin(call) {
        case .proceed: return false
        case .park(let body):
            try await body()
            return true
        }
    }

    private func refusal(_ authenticator: Authenticator, _ call: ServerCall) async -> RPCError? {
        await #expect(throws: RPCError.self) { try await begin(authenticator, call) }
    }

    private func certificate(_ names: [Peer.SubjectName], until: Double? = nil) -> Peer {
        Peer(address: "10.0.0.2:5", identity: Peer.Identity(subjectNames: names, notValidAfter: until))
    }

    @Test("who shows nothing is refused, and told what to show")
    func nothing() async throws {
        let error = await refusal(try await authenticator(), call())
        #expect(error?.code == .unauthenticated)
        #expect(error?.message.contains("client certificate") == true)
        let anonymous = try await authenticator { $0.anonymous = Grants(roles: [.read], table: Self.table) }
        let call = call()
        #expect(try await begin(anonymous, call) == false)
        #expect(call.principal?.name == "anonymous" && call.principal?.grants.roles == [.read])
    }

    @Test("a certificate's first URI, DNS or mail name is the principal; one without is refused")
    func certificates() async throws {
        let authenticator = try await authenticator([.init(.certificate("spiffe://a/*"), roles: [.read])])
        let call = call(peer: certificate([.dns("a.test"), .uri("spiffe://a/b"), .email("a@b.test")]))
        #expect(try await begin(authenticator, call) == false)
        #expect(call.principal?.name == "spiffe://a/b")
        #expect(call.principal?.grants.roles == [.read])
        let nameless = await refusal(authenticator, self.call(peer: certificate([.ip("10.0.0.1")])))
        #expect(nameless?.code == .unauthenticated && nameless?.message.contains("subjectAltName") == true)
    }

    @Test("a certificate that expires ends the calls of the connection it opened")
    func certificateExpiry() async throws {
        let authenticator = try await authenticator()
        let peer = certificate([.dns("a.test")], until: clock.now + 10)
        let start = NIODeadline.uptimeNanoseconds(5_000_000_000_000)
        try await begin(authenticator, call(peer: peer, at: start))
        clock.move(9.9)
        try await begin(authenticator, call(peer: peer, at: start + .milliseconds(9_900)))
        clock.move(0.1)
        let error = await refusal(authenticator, call(peer: peer, at: start + .seconds(10)))
        #expect(error?.errorInfo?.reason == "CERTIFICATE_EXPIRED")
    }

    @Test("a token waits for its verification once, and is known until it expires")
    func known() async throws {
        let authenticator = try await authenticator([.init(.subject("alice"), roles: [.write])])
        let token = "Bearer " + (try issuer.token())
        let start = NIODeadline.uptimeNanoseconds(5_000_000_000_000)
        let first = call(token, at: start)
        #expect(try await begin(authenticator, first) == true)
        #expect(first.principal?.name == "alice" && first.principal?.grants.roles == [.write])
        // On the same connection, on another one, and with the scheme in capitals.
        #expect(try await begin(authenticator, call(token, peer: first.peer, at: start)) == false)
        let elsewhere = call(token.replacingOccurrences(of: "Bearer", with: "BEARER"), at: start)
        #expect(try await begin(authenticator, elsewhere) == false)
        #expect(elsewhere.principal === first.principal)
        #expect(authenticator.counters.succeeded == 1)
        // 600 s and the skew.
        clock.move(629.9)
        #expect(
            try await begin(authenticator, call(token, peer: first.peer, at: start + .milliseconds(629_900))) == false
        )
        clock.move(0.1)
        for peer in [first.peer, Peer(address: "x")] {
            let error = await refusal(authenticator, call(token, peer: peer, at: start + .seconds(630)))
            #expect(error?.errorInfo?.reason == "TOKEN_EXPIRED")
        }
    }

    @Test("another token on the same connection is another principal")
    func several() async throws {
        let authenticator = try await authenticator()
        let peer = Peer(address: "proxy")
        for name in ["alice", "bob", "alice", "bob"] {
            let call = call(
                "Bearer " + (try issuer.token(claims: TestIssuer.claims(["sub": "\"\(name)\""]))),
                peer: peer
            )
            try await begin(authenticator, call)
            #expect(call.principal?.name == name)
        }
        // And without one the connection has nobody.
        #expect(await refusal(authenticator, call(peer: peer))?.code == .unauthenticated)
        #expect(authenticator.seen.map(\.name) == ["alice", "bob"])
    }

    @Test("a token counts before the certificate, and a wrong one is not made good by it")
    func both() async throws {
        let authenticator = try await authenticator()
        let peer = certificate([.dns("a.test")])
        let good = call("Bearer " + (try issuer.token()), peer: peer)
        try await begin(authenticator, good)
        #expect(good.principal?.name == "alice")
        #expect(await refusal(authenticator, call("Bearer x", peer: peer))?.code == .unauthenticated)
        #expect(await refusal(authenticator, call("Basic eDp5", peer: peer))?.code == .unauthenticated)
    }

    @Test("a key that is rotated away takes its tokens with it, and a new one is taken at once")
    func rotation() async throws {
        let authenticator = try await authenticator()
        let peer = Peer(address: "x")
        let old = "Bearer " + (try issuer.token())
        let new = "Bearer " + (try issuer.ecToken())
        try await begin(authenticator, call(old, peer: peer))
        #expect(await refusal(authenticator, call(new))?.code == .unauthenticated)
        authenticator.use(try await keys(issuer.edKey + "," + issuer.ecKey))
        try await begin(authenticator, call(old, peer: peer))
        try await begin(authenticator, call(new))
        authenticator.use(try await keys(issuer.ecKey))
        for peer in [peer, Peer(address: "y")] {
            #expect(await refusal(authenticator, call(old, peer: peer))?.code == .unauthenticated)
        }
        try await begin(authenticator, call(new))
    }

    @Test("a changed policy holds for connections and tokens that are known")
    func policyChange() async throws {
        let authenticator = try await authenticator([.init(.claim(name: "groups", value: "vip"), roles: [.write])])
        let token = "Bearer " + (try issuer.token())
        let peer = Peer(address: "x")
        let first = call(token, peer: peer)
        try await begin(authenticator, first)
        #expect(first.principal?.grants.roles == [.write])
        authenticator.use(AccessPolicy([]))
        let second = call(token, peer: peer)
        try await begin(authenticator, second)
        #expect(second.principal?.grants.roles == [])
    }

    @Test("an address that fails too often waits; known tokens and other addresses do not")
    func failures() async throws {
        let authenticator = try await authenticator {
            $0.failures = GCRA.Limit(perSecond: 1, burst: 3)
            $0.maximumAddresses = 2
        }
        let good = "Bearer " + (try issuer.token())
        let start = NIODeadline.uptimeNanoseconds(9_000_000_000_000)
        func peer(_ host: String) -> Peer { Peer(address: host + ":1", host: host) }
        try await begin(authenticator, call(good, peer: peer("a"), at: start))
        for n in 0..<3 {
            #expect(
                await refusal(authenticator, call("Bearer x\(n)", peer: peer("a"), at: start))?.code == .unauthenticated
            )
        }
        let limited = await refusal(authenticator, call("Bearer y", peer: peer("a"), at: start))
        #expect(limited?.code == .resourceExhausted && limited?.retryDelay == .seconds(1))
        // Not even a good one, if it is unknown: that is what makes guessing cheap to refuse.
        let other = "Bearer " + (try issuer.token(claims: TestIssuer.claims(["sub": "\"bob\""])))
        #expect(await refusal(authenticator, call(other, peer: peer("a"), at: start))?.code == .resourceExhausted)
        try await begin(authenticator, call(good, peer: peer("a"), at: start))
        try await begin(authenticator, call(other, peer: peer("b"), at: start))
        // One a second passes again.
        try await begin(authenticator, call(other, peer: peer("a"), at: start + .seconds(1)))
        #expect(authenticator.counters.limited == 2)
        // Addresses beyond the limit share a budget, and do not push out the others.
        for host in ["b", "c", "d", "e"] {
            #expect(
                await refusal(authenticator, call("Bearer z", peer: peer(host), at: start))?.code == .unauthenticated
            )
        }
        #expect(await refusal(authenticator, call("Bearer z", peer: peer("f"), at: start))?.code == .resourceExhausted)
        #expect(authenticator.counters.addresses == 2)
    }

    @Test("remembered tokens and principals are bounded")
    func capacity() async throws {
        let authenticator = try await authenticator {
            $0.maximumTokens = 3
            $0.maximumPrincipals = 4
        }
        for n in 0..<10 {
            let claims = TestIssuer.claims(["sub": "\"user\(n)\""])
            try await begin(authenticator, call("Bearer " + (try issuer.token(claims: claims))))
            #expect(authenticator.counters.tokens <= 3)
        }
        #expect(authenticator.counters.succeeded == 10)
        #expect(authenticator.seen.map(\.name) == ["user0", "user1", "user2", "user3"])
    }

    @Test("neither tokens nor why they are wrong are told")
    func silence() async throws {
        let authenticator = try await authenticator()
        let stranger = try TestIssuer().token()
        let wrongAudience = try issuer.token(claims: TestIssuer.claims(["aud": "\"x\""]))
        let errors = [
            await refusal(authenticator, call("Bearer " + stranger)),
            await refusal(authenticator, call("Bearer " + wrongAudience)),
            await refusal(authenticator, call("Bearer x")),
        ]
        #expect(Set(errors.map { $0?.message }).count == 1)
        #expect(errors.allSatisfy { error in !"\(error!.message)\(error!.details)".contains("ey") })
        #expect(authenticator.counters.failed == ["unknown_key": 1, "audience": 1, "malformed": 1])
    }
}

@Suite("Authorization")
struct AuthorizationTests {
    private static let table = MethodRoles(["test/Read": [.read, .write], "test/Write": [.write]])
    private let interceptor = AuthorizationInterceptor(methods: table, errorDomain: "test")

    private func call(_ method: String, _ grants: Grants?) -> ServerCall {
        ServerCall(
            descriptor: MethodDescriptor(service: "test", method: method, kind: .unary),
            principal: grants.map { Principal(name: "p", source: .anonymous, grants: $0) }
        )
    }

    private func code(_ method: String, _ grants: Grants?) -> RPCError? {
        do throws(RPCError) {
            _ = try interceptor.begin(call(method, grants))
            return nil
        } catch {
            return error
        }
    }

    @Test("a role opens its methods and no others; a method without a row is open to nobody")
    func roles() {
        let none = Grants(roles: [], table: Self.table)
        let reader = Grants(roles: [.read], table: Self.table)
        let writer = Grants(roles: [.write], table: Self.table)
        #expect(code("Read", none)?.code == .permissionDenied)
        #expect(code("Read", reader) == nil && code("Read", writer) == nil && code("Write", writer) == nil)
        let denied = code("Write", reader)
        #expect(denied?.code == .permissionDenied && denied?.errorInfo?.metadata["roles"] == "write")
        #expect(code("Forgotten", writer)?.code == .permissionDenied)
        #expect(code("Read", nil)?.code == .unauthenticated)
    }

    @Test("a restricted role attaches what it is restricted to, unless another role is not")
    func restricted() throws {
        let grants = Grants(roles: [], restricted: [.read: ["a", "b"]], table: Self.table)
        let call = call("Read", grants)
        _ = try interceptor.begin(call)
        #expect(call[AllowedResources.self] == ["a", "b"])
        let both = Grants(roles: [.write], restricted: [.read: ["a"]], table: Self.table)
        let free = self.call("Read", both)
        _ = try interceptor.begin(free)
        #expect(free[AllowedResources.self] == nil)
        #expect(both.roles == [.read, .write])
    }

    @Test("what a connection remembers to be open is one method of one principal, and ends with the policy")
    func remembered() async throws {
        let table = Self.table
        var configuration = AuthenticatorConfiguration(methods: table)
        configuration.anonymous = nil
        let reader = AccessPolicy([.init(.certificate("a.test"), roles: [.read])])
        let authenticator = Authenticator(configuration, policy: reader)
        let authentication = AuthenticationInterceptor(authenticator)
        let peer = Peer(address: "x", identity: Peer.Identity(subjectNames: [.dns("a.test")]))
        let methods = ["Read", "Write"].map {
            Method(descriptor: MethodDescriptor(service: "test", method: $0, kind: .unary), isKnown: true)
        }
        func code(_ method: Int) -> RPCError.Code {
            let call = ServerCall(
                method: methods[method],
                id: 1,
                metadata: Metadata(),
                peer: peer,
                receivedAt: .now(),
                deadline: nil,
                requestBytes: 0
            )
            do throws(RPCError) {
                _ = try authentication.begin(call)
                _ = try interceptor.begin(call)
                return .ok
            } catch {
                return error.code
            }
        }
        for _ in 0..<2 {
            #expect(code(0) == .ok && code(0) == .ok)
            #expect(code(1) == .permissionDenied)
        }
        authenticator.use(AccessPolicy([]))
        #expect(code(0) == .permissionDenied)
        authenticator.use(AccessPolicy([.init(.certificate("a.test"), roles: [.read], resources: ["r"])]))
        #expect(code(0) == .ok)
        authenticator.use(reader)
        #expect(code(0) == .ok && code(0) == .ok && code(1) == .permissionDenied)
    }

    @Test("rules match exactly or by what begins a name; every one that matches counts")
    func policy() {
        func roles(_ rules: [AccessPolicy.Rule], _ source: Principal.Source) -> Grants {
            AccessPolicy(rules).grants(for: source, table: Self.table)
        }
        let identity = Principal.Source.certificate(
            Peer.Identity(subjectNames: [.uri("spiffe://a/b"), .dns("b.test")])
        )
        let token = Principal.Source.token(
            TokenClaims(claims: ["sub": .text("spiffe://a/b"), "groups": .list(["x"]), "level": .text("3")])
        )
        #expect(roles([.init(.certificate("b.test"), roles: [.read])], identity).roles == [.read])
        #expect(roles([.init(.certificate("spiffe://a/*"), roles: [.read])], identity).roles == [.read])
        #expect(roles([.init(.certificate("spiffe://a"), roles: [.read])], identity).roles == [])
        #expect(roles([.init(.certificate("spiffe://a/B"), roles: [.read])], identity).roles == [])
        // A token cannot take the place of a certificate by bearing its name, nor the other way round.
        #expect(roles([.init(.certificate("spiffe://a/b"), roles: [.read])], token).roles == [])
        #expect(roles([.init(.subject("spiffe://a/b"), roles: [.read])], identity).roles == [])
        #expect(roles([.init(.claim(name: "groups", value: "x"), roles: [.read])], token).roles == [.read])
        #expect(roles([.init(.claim(name: "level", value: "3"), roles: [.read])], token).roles == [.read])
        #expect(roles([.init(.claim(name: "groups", value: "y"), roles: [.read])], token).roles == [])
        let several = roles(
            [
                .init(.subject("spiffe://*"), roles: [.read], resources: ["a"]),
                .init(.claim(name: "groups", value: "x"), roles: [.read], resources: ["b"]),
            ],
            token
        )
        #expect(several.access(to: "test/Read") == .only(["a", "b"]))
        #expect(several.access(to: "test/Write") == nil)
    }
}

@Suite("GCRA")
struct GCRATests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    @Test("a burst passes at once, then the steady rate")
    func rate() {
        let limit = GCRA.Limit(perSecond: 10, burst: 5)
        var state = GCRA()
        for _ in 0..<5 { #expect(state.admit(at: start, limit: limit) == nil) }
        #expect(state.admit(at: start, limit: limit) == .milliseconds(100))
        #expect(state.admit(at: start + .milliseconds(99), limit: limit) == .milliseconds(1))
        #expect(state.admit(at: start + .milliseconds(100), limit: limit) == nil)
        #expect(state.admit(at: start + .milliseconds(100), limit: limit) == .milliseconds(100))
        // After a rest the whole burst is there again, and no more.
        let later = start + .seconds(60)
        #expect(state.isIdle(at: later))
        for _ in 0..<5 { #expect(state.admit(at: later, limit: limit) == nil) }
        #expect(state.admit(at: later, limit: limit) != nil)
    }

    @Test("over any time no more passes than the rate and a burst allow", arguments: [1, 2, 3] as [UInt64])
    func bound(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let limit = GCRA.Limit(
            perSecond: Double.random(in: 0.5...500, using: &random),
            burst: .random(in: 1...50, using: &random)
        )
        var state = GCRA()
        var now = start
        var passed: [NIODeadline] = []
        for _ in 0..<5_000 {
            now = now + .nanoseconds(.random(in: 0...3 * limit.interval / 2, using: &random))
            let wait = state.wait(at: now, limit: limit)
            #expect(state.admit(at: now, limit: limit) == wait)
            if wait == nil { passed.append(now) }
            if passed.count > limit.burst {
                let span = (now - passed[passed.count - 1 - limit.burst]).nanoseconds
                #expect(span >= limit.interval)
            }
        }
        #expect(passed.count > limit.burst)
    }
}

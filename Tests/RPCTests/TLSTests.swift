import Foundation
import MetricsTestKit
import NIOCore
import NIOPosix
import NIOSSL
import RPC
import SwiftProtobuf
import Synchronization
import Testing

@Suite("TLS", .timeLimit(.minutes(2)))
struct TLSTests {
    private struct Look: ServerInterceptor {
        let seen: Events<Peer>
        func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
            seen.send(call.peer)
            return .proceed
        }
    }

    private func call(_ harness: Harness, _ certificate: String?) async throws -> Text {
        let certificates = TestCertificates.shared
        let client = try harness.client {
            guard let certificate else { return }
            $0.tls.certificateChainPath = certificates.path("\(certificate).pem")
            $0.tls.privateKeyPath = certificates.path("\(certificate).key")
        }
        let result: Result<Text, any Error>
        do {
            let text: Text = try await client.unary(EchoService.Methods.inline, Text("x"), .defaults)
            result = .success(text)
        } catch {
            result = .failure(error)
        }
        await client.shutdown()
        return try result.get()
    }

    @Test("client certificates off, request and require", arguments: ClientCertificateMode.allCases)
    func clientCertificates(_ mode: ClientCertificateMode) async throws {
        let seen = Events<Peer>()
        try await withServer(tls: serverTLS(mode), interceptors: [Look(seen: seen)]) { harness in
            if mode == .require {
                let error = await #expect(throws: RPCError.self) { _ = try await call(harness, nil) }
                #expect(error?.code == .unavailable)
                #expect(error?.message.contains("client certificate") == true, "\(error?.message ?? "")")
                #expect(error?.cause != nil)
            } else {
                let text = try await call(harness, nil)
                #expect(text.value == "x")
                #expect(await seen.next()?.identity == nil)
            }
            let known = try await call(harness, "client")
            #expect(known.value == "x")
            let peer = await seen.next()
            #expect(peer?.applicationProtocol == "ttrpc-x1")
            #expect(peer?.host == "127.0.0.1")
            if mode == .off {
                #expect(peer?.identity == nil)
            } else {
                #expect(
                    peer?.identity?.subjectNames == [
                        .uri("spiffe://test/billing"), .dns("billing.test"), .email("a@b.test"), .ip("10.1.2.3"),
                    ]
                )
                // A certificate of an authority that is not trusted is refused.
                let error = await #expect(throws: RPCError.self) { _ = try await call(harness, "stranger") }
                #expect(error?.code == .unavailable)
                #expect(error?.message.contains("client certificate") == true, "\(error?.message ?? "")")
                #expect(try await eventually { harness.log.closeReasons.contains("handshake failed") })
            }
        }
    }

    @Test("a client does not talk to a server it cannot verify")
    func untrustedServer() async throws {
        try await withServer { harness in
            let client = try harness.client {
                $0.tls.trustRootsPath = TestCertificates.shared.path("other-ca.pem")
            }
            let error = await #expect(throws: RPCError.self) {
                let _: Text = try await client.unary(EchoService.Methods.inline, Text("x"), .defaults)
            }
            #expect(error?.code == .unavailable)
            await client.shutdown()
            let misnamed = try harness.client { $0.tls.serverName = "elsewhere.test" }
            await #expect(throws: RPCError.self) {
                let _: Text = try await misnamed.unary(EchoService.Methods.inline, Text("x"), .defaults)
            }
            await misnamed.shutdown()
        }
    }

    @Test("TLS 1.2 is refused, unless it is allowed", arguments: [false, true])
    func tls12(allowed: Bool) async throws {
        var tls = serverTLS()
        tls.allowTLS12 = allowed
        try await withServer(tls: tls) { harness in
            var old = RawPeer.tls()
            old.maximumTLSVersion = .tlsv12
            old.minimumTLSVersion = .tlsv12
            let peer = try await RawPeer.connect(to: harness.endpoint, tls: old)
            peer.post(Raw.request(1, "Inline", Text("x")))
            if allowed {
                #expect(try await peer.frames(1).first?.text == "x")
                await peer.close()
            } else {
                #expect(try await eventually { peer.isClosed })
                #expect(try await eventually { harness.log.closeReasons.contains("handshake failed") })
            }
        }
    }

    @Test("settings that cannot be used name the setting")
    func badSettings() async throws {
        let certificates = TestCertificates.shared
        func fails(_ setting: String, _ change: (inout ServerTLS) -> Void) async throws {
            var tls = serverTLS()
            change(&tls)
            let server = Server(
                configuration: ServerConfiguration(listen: Endpoint(host: "127.0.0.1", port: 0), tls: tls),
                services: [],
                eventLoopGroup: NIOSingletons.posixEventLoopGroup,
                logger: LogRecorder().logger
            )
            let error = await #expect(throws: TLSSettingsError.self) { _ = try await server.start() }
            #expect(error?.setting == setting)
        }
        try await fails("certificateChainPath") { $0.certificateChainPath = "/nonexistent.pem" }
        try await fails("privateKeyPath") { $0.privateKeyPath = certificates.path("server.pem") }
        try await fails("privateKeyPath") { $0.privateKeyPath = certificates.path("client.key") }
        try await fails("trustRootsPath") {
            $0.clientCertificates = .require
            $0.trustRootsPath = nil
        }
    }

    @Test("certificates are reloaded for new connections; those that run go on")
    func reload() async throws {
        let certificates = TestCertificates.shared
        let directory = certificates.directory.appendingPathComponent("reload")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let chain = directory.appendingPathComponent("chain.pem").path
        let key = directory.appendingPathComponent("key.pem").path
        func install(_ name: String) throws {
            for (from, to) in [("\(name).pem", chain), ("\(name).key", key)] {
                try Data(contentsOf: URL(fileURLWithPath: certificates.path(from))).write(to: URL(fileURLWithPath: to))
            }
        }
        func served(_ endpoint: Endpoint) async throws -> [UInt8] {
            let peer = try await RawPeer.connect(to: endpoint)
            try await peer.write(Raw.request(1, "Inline", Text("x")))
            _ = try await peer.frames(1)
            let der = try await peer.channel.eventLoop.submit {
                try peer.channel.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self).peerCertificate?
                    .toDERBytes()
            }.get()
            await peer.close()
            return der ?? []
        }
        try install("server")
        try await withServer(tls: ServerTLS(certificateChainPath: chain, privateKeyPath: key)) { harness in
            let running = try await RawPeer.connect(to: harness.endpoint)
            try await running.write(Raw.request(1, "Hang", Text("x")))
            _ = await harness.service.hanging.next()
            let before = try await served(harness.endpoint)
            try install("server2")
            harness.server.reloadCertificates()
            let after = try await served(harness.endpoint)
            #expect(before != after)
            // A key that does not belong to the certificate changes nothing.
            try Data(contentsOf: URL(fileURLWithPath: certificates.path("client.key"))).write(
                to: URL(fileURLWithPath: key)
            )
            harness.server.reloadCertificates()
            #expect(try await served(harness.endpoint) == after)
            #expect(harness.server.statistics.certificateReloads == 1)
            #expect(harness.server.statistics.certificateReloadFailures == 1)
            try await running.write(Raw.request(3, "Inline", Text("still")))
            #expect(try await running.frames(1).first?.text == "still")
            await running.close()
        }
    }

    @Test("when the first certificate of a file expires is told, and again after a reload")
    func expiry() async throws {
        let certificates = TestCertificates.shared
        let directory = certificates.directory.appendingPathComponent("expiry")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let chain = directory.appendingPathComponent("chain.pem")
        try certificates.leaf("short", by: "ca", names: "DNS:localhost", days: 1)
        func install(_ names: String...) throws {
            let pem = try names.map { try String(contentsOfFile: certificates.path("\($0).pem"), encoding: .utf8) }
            try pem.joined().write(to: chain, atomically: true, encoding: .utf8)
        }
        try install("server")
        let tls = ServerTLS(
            certificateChainPath: chain.path,
            privateKeyPath: certificates.path("server.key"),
            trustRootsPath: certificates.path("ca.pem"),
            clientCertificates: .request
        )
        try await withServer(tls: tls) { harness in
            func days(_ owner: String) throws -> Double {
                let gauge = try harness.metrics.expectGauge(
                    "rpc.server.certificate.not_after",
                    [("certificate", owner)]
                )
                return (try #require(gauge.lastValue) - Date().timeIntervalSince1970) / 86_400
            }
            let limit = try harness.metrics.expectGauge("rpc.server.connections.limit").lastValue
            #expect(limit == Double(ServerLimits().maxConnections))
            #expect(try (1.9...2).contains(days("server")) && (1.9...2).contains(days("client_authorities")))
            // What stands behind the server's own ends its chain just as well.
            try install("server", "short")
            harness.server.reloadCertificates()
            #expect(try (0.9...1).contains(days("server")) && (1.9...2).contains(days("client_authorities")))
            // What cannot be used is not told of.
            try Data("nothing".utf8).write(to: chain)
            harness.server.reloadCertificates()
            #expect(try (0.9...1).contains(days("server")))
        }
    }

    @Test("changed files are noticed without being told")
    func reloadOnChange() async throws {
        let certificates = TestCertificates.shared
        let directory = certificates.directory.appendingPathComponent("watch")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let chain = directory.appendingPathComponent("chain.pem")
        let key = directory.appendingPathComponent("key.pem")
        func install(_ name: String) throws {
            try Data(contentsOf: URL(fileURLWithPath: certificates.path("\(name).key"))).write(to: key)
            try Data(contentsOf: URL(fileURLWithPath: certificates.path("\(name).pem"))).write(to: chain)
        }
        try install("server")
        let server = Server(
            configuration: ServerConfiguration(
                listen: Endpoint(host: "127.0.0.1", port: 0),
                tls: ServerTLS(certificateChainPath: chain.path, privateKeyPath: key.path),
                certificateReloadInterval: .milliseconds(20)
            ),
            services: [],
            eventLoopGroup: NIOSingletons.posixEventLoopGroup,
            logger: LogRecorder().logger
        )
        try await server.start()
        try install("server2")
        #expect(try await eventually { server.statistics.certificateReloads >= 1 })
        await server.shutdown(grace: .zero)
    }
}

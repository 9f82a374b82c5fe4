import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import ServiceSettings

/// Sends requests to a collector by OTLP/HTTP.
struct OTLPSender: Sendable {
    private let settings: OTLPSettings
    private let client: HTTPClient

    /// - Throws: ``SettingsError`` for authorities that cannot be used.
    init(_ settings: OTLPSettings) throws {
        self.settings = settings
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        if let ca = settings.ca {
            do { tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(ca)) } catch {
                throw SettingsError("--otlp-ca: '\(ca)' holds no certificates in PEM: \(error)")
            }
        }
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls,
            // A collector that has moved is a setting that is wrong.
            redirectConfiguration: .disallow,
            timeout: .init(connect: TimeAmount(settings.timeout), read: TimeAmount(settings.timeout)),
            decompression: .disabled
        )
        configuration.httpVersion = .http1Only
        // The exporter's own policy decides what is tried again.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 2
        client = HTTPClient(
            eventLoopGroupProvider: .shared(MultiThreadedEventLoopGroup.singleton),
            configuration: configuration
        )
    }

    /// How it ended, with the answer where there was one, or why there was none.
    func send(_ batch: ExportBatch, _ kind: ExportKind) async -> (ExportRetry.Outcome, body: Data, problem: String) {
        var request = HTTPClientRequest(url: settings.endpoint + kind.path)
        request.method = .POST
        for (name, value) in settings.headers?.current ?? [] { request.headers.add(name: name, value: value) }
        request.headers.replaceOrAdd(name: "Content-Type", value: "application/x-protobuf")
        if !request.headers.contains(name: "User-Agent") {
            request.headers.add(name: "User-Agent", value: "cohort-sidecar")
        }
        if batch.isCompressed { request.headers.replaceOrAdd(name: "Content-Encoding", value: "gzip") }
        request.body = .bytes(ByteBuffer(bytes: batch.body))
        let end = ContinuousClock.now + settings.timeout
        do {
            let response = try await client.execute(request, deadline: .now() + TimeAmount(settings.timeout))
            let outcome = ExportRetry.Outcome.status(
                Int(response.status.code),
                retryAfter: response.headers.first(name: "Retry-After")
            )
            // The status decides; a body that is too long or breaks off is none of a collector's.
            // The deadline of the request ends with its head: a body that trickles is given the rest of the time.
            let body = await withTaskGroup(of: ByteBuffer?.self) { tasks in
                tasks.addTask { try? await response.body.collect(upTo: ExportAnswer.most) }
                tasks.addTask {
                    try? await Task.sleep(until: end)
                    return nil
                }
                defer { tasks.cancelAll() }
                return await tasks.next() ?? nil
            }
            return (outcome, body.map { Data($0.readableBytesView) } ?? Data([0xFF]), "HTTP \(response.status.code)")
        } catch {
            return (.none, Data(), "\(error)")
        }
    }

    func shutdown() async { try? await client.shutdown() }
}

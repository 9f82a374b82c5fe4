import Foundation
import Hummingbird
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCertificateReloading
import NIOSSL
import RPC
import ServiceLifecycle
import ServiceSettings

/// What stands between the sidecar's HTTP side and those who ask: TLS, a token and limits.
struct HTTPProtection: Sendable {
    let limits: ConnectionWatch.Limits
    let token: HTTPToken?
    /// Reads the certificate again when it changes; nil without TLS.
    let reloader: TimedCertificateReloader?
    private let tls: TLSConfiguration?

    /// - Throws: ``SettingsError``.
    init(_ reader: SettingsReader, listen: Endpoint) throws {
        limits = ConnectionWatch.Limits(
            request: try reader.seconds("limits.request.seconds"),
            idle: try reader.seconds("limits.idle.seconds"),
            body: try reader.whole("limits.request.bytes")
        )
        token = try reader.text("http.token.file").map { path in
            do { return try HTTPToken(path) } catch { throw SettingsError("--http-token-file: \(error)") }
        }
        let (cert, key) = (try reader.text("http.cert"), try reader.text("http.key"))
        guard (cert == nil) == (key == nil) else {
            throw SettingsError(
                cert == nil ? "--http-key needs --http-cert, its certificate" : "--http-cert needs --http-key, its key"
            )
        }
        if let cert, let key {
            do { try SettingsFile.check(key, .secret) } catch { throw SettingsError("--http-key: \(error)") }
            do {
                let reloader = try TimedCertificateReloader.makeReloaderValidatingSources(
                    refreshInterval: .seconds(10),
                    certificateSource: .init(location: .file(path: cert), format: .pem),
                    privateKeySource: .init(location: .file(path: key), format: .pem),
                    logger: Logger(label: "cohort-sidecar")
                )
                var tls = try TLSConfiguration.makeServerConfiguration(certificateReloader: reloader)
                tls.minimumTLSVersion = .tlsv12
                tls.applicationProtocols = ["http/1.1"]
                self.tls = tls
                self.reloader = reloader
            } catch {
                throw SettingsError(
                    "--http-cert, --http-key: '\(cert)' and '\(key)' are no certificate and its key: \(error)"
                )
            }
        } else {
            (tls, reloader) = (nil, nil)
        }
        guard try Self.isLoopback(listen.host) || (tls != nil && token != nil) || reader.flag("http.public") else {
            throw SettingsError(
                "--listen \(listen) can be reached from other machines: give --http-cert, --http-key and --http-token-file, "
                    + "or say --http-public if a network policy keeps others away"
            )
        }
    }

    static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    /// HTTP/1.1 within the limits, over TLS where there is a certificate.
    func server() throws -> HTTPServerBuilder {
        let limits = limits
        let http = HTTPServerBuilder.http1(
            configuration: .init(
                additionalChannelHandlers: [ConnectionGuard(limits)],
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: 8 << 10,
                    maxHeaderListSize: 16 << 10,
                    maxHeaderFieldCount: 100
                )
            )
        )
        guard let tls else { return http }
        return try .tls(http, tlsConfiguration: tls)
    }
}

extension Setting {
    static let http = [
        Setting(
            "http.cert",
            .text(default: nil),
            "PEM file: the certificate of the HTTP side, which speaks TLS with it"
        ),
        Setting("http.key", .text(default: nil), "PEM file: its private key; both are read again when they change"),
        Setting(
            "http.token.file",
            .text(default: nil),
            "file with the token that is asked for, except by the probes and the bare page; read again when it changes"
        ),
        Setting(
            "http.public",
            .flag,
            "whether others than this machine are served without TLS or without a token"
        ),
        Setting(
            "limits.request.seconds",
            .seconds(0.1...600, default: 10),
            "time from a connection to its first request, and from a request until its answer has been taken"
        ),
        Setting("limits.idle.seconds", .seconds(0.1...3_600, default: 60), "time between two requests of a connection"),
        Setting("limits.request.bytes", .whole(0...(1 << 20), default: 16 << 10), "body of a request; none is read"),
    ]
}

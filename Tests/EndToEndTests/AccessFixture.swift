import CohortAPI
import Foundation
import RPC

/// An authority that the server trusts, and one that it does not.
struct AccessCertificates {
    private let directory: TemporaryDirectory
    private let trusted: TestAuthority
    private let stranger: TestAuthority

    init() throws {
        directory = try TemporaryDirectory()
        trusted = try TestAuthority(directory: directory.file("trusted"))
        stranger = try TestAuthority(directory: directory.file("stranger"))
    }

    func path(_ name: String) -> String { trusted.file(name) }

    func serverArguments(clients: String) -> [String] { trusted.serverArguments(clients: clients) }

    func issue(_ name: String, names: String, days: Int = 2) throws {
        try trusted.issue(name, names: names, days: days)
    }

    /// A client of the other authority, beside those of the trusted one.
    func issueByStranger(_ name: String, names: String) throws {
        try stranger.issue(name, names: names)
        for file in [name + ".pem", name + ".key"] {
            try FileManager.default.moveItem(atPath: stranger.file(file), toPath: trusted.file(file))
        }
    }
}

/// A server as in production: no `--dev`, client certificates or tokens, a policy.
final class SecuredServer: Sendable {
    static let issuer = "https://issuer.test"

    let certificates: AccessCertificates
    let signer = TokenSigner()
    let files: TemporaryDirectory
    let program: RunningProgram
    let endpoint: Endpoint

    init(
        policy: String,
        clients: String = "request",
        arguments: [String] = [],
        certificates: AccessCertificates
    ) async throws {
        self.certificates = certificates
        files = try TemporaryDirectory()
        try files.write("policy.yaml", policy)
        try files.write("keys.json", String(decoding: signer.publicKeys, as: UTF8.self))
        program = try RunningProgram(
            Programs.server,
            [
                "--listen", "127.0.0.1:0", "--data-dir", files.file("data"), "--auth-policy", files.file("policy.yaml"),
                "--auth-jwt-keys", files.file("keys.json"), "--auth-jwt-issuer", Self.issuer, "--auth-jwt-audience",
                "cohort",
            ] + certificates.serverArguments(clients: clients) + arguments
        )
        endpoint = try await TestServer.address(program)
        try await eventually("the server is not ready; it said: \(program.errors)") {
            program.errors.contains("the index is loaded")
        }
    }

    deinit { program.signal(SIGKILL) }

    func token(
        _ subject: String,
        groups: [String] = [],
        lifetime: Double = 600,
        by signer: TokenSigner? = nil,
        audience: String = "cohort"
    ) async throws -> BearerToken {
        try BearerToken(
            token: try await signed(subject, groups: groups, lifetime: lifetime, by: signer, audience: audience)
        )
    }

    func signed(
        _ subject: String,
        groups: [String] = [],
        lifetime: Double = 600,
        by signer: TokenSigner? = nil,
        audience: String = "cohort"
    ) async throws -> String {
        let now = Date().timeIntervalSince1970
        let claims = TokenClaims(
            claims: [
                "iss": .text(Self.issuer), "aud": .text(audience), "sub": .text(subject), "groups": .list(groups),
            ],
            times: ["exp": now + lifetime]
        )
        return try await (signer ?? self.signer).sign(claims)
    }

    /// - Parameter certificate: name of one of `certificates`.
    func withClient<Result>(
        certificate: String? = nil,
        token: BearerToken? = nil,
        stock: Bool = false,
        _ body: (Client) async throws -> Result
    ) async throws -> Result {
        var tls = ClientTLS(trustRootsPath: certificates.path("ca.pem"))
        if let certificate {
            tls.certificateChainPath = certificates.path(certificate + ".pem")
            tls.privateKeyPath = certificates.path(certificate + ".key")
        }
        var configuration = ClientConfiguration(endpoints: [endpoint], tls: tls, defaultTimeout: .seconds(30))
        configuration.token = token
        if stock { configuration.applicationProtocols = ["ttrpc"] }
        return try await EndToEndTests.withClient(configuration, body)
    }
}

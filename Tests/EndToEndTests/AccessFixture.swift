import CohortAPI
import Foundation
import NIOPosix
import RPC

/// Certificates made by openssl: an authority with a server's and clients', and another authority that nobody trusts.
struct AccessCertificates {
    let directory: TemporaryDirectory

    init() throws {
        directory = try TemporaryDirectory()
        for name in ["ca", "other-ca"] {
            try openssl(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=\(name) "
                    + "-addext basicConstraints=critical,CA:TRUE -keyout \(path(name + ".key")) -out \(path(name + ".pem"))"
            )
        }
        try issue("server", names: "DNS:localhost,IP:127.0.0.1")
    }

    func path(_ name: String) -> String { directory.file(name) }

    /// Days below zero make a certificate that has expired.
    func issue(_ name: String, names: String, by authority: String = "ca", days: Int = 2) throws {
        let config = try directory.write(name + ".cnf", "subjectAltName=\(names)\nbasicConstraints=CA:FALSE\n")
        try openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=\(name) -keyout \(path(name + ".key")) "
                + "-out \(path(name + ".csr"))"
        )
        try openssl(
            "x509 -req -in \(path(name + ".csr")) -CA \(path(authority + ".pem")) -CAkey \(path(authority + ".key")) "
                + "-CAcreateserial -days \(days) -extfile \(config) -out \(path(name + ".pem"))"
        )
    }

    private func openssl(_ arguments: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments.split(separator: " ").map(String.init)
        process.standardError = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw HarnessError("openssl \(arguments) failed") }
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
                "--listen", "127.0.0.1:0", "--data-dir", files.file("data"), "--tls-certificate",
                certificates.path("server.pem"), "--tls-key", certificates.path("server.key"), "--tls-ca",
                certificates.path("ca.pem"), "--tls-clients", clients, "--auth-policy", files.file("policy.yaml"),
                "--auth-jwt-keys", files.file("keys.json"), "--auth-jwt-issuer", Self.issuer, "--auth-jwt-audience",
                "cohort",
            ] + arguments
        )
        endpoint = try await TestServer.address(program)
        let deadline = ContinuousClock.now + .seconds(60)
        while !program.errors.contains("the index is loaded") {
            guard ContinuousClock.now < deadline, program.isRunning else {
                throw HarnessError("the server is not ready; it said: \(program.errors)")
            }
            try await Task.sleep(for: .milliseconds(5))
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
        let client = try Client(configuration, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        do {
            let result = try await body(client)
            await client.shutdown()
            return result
        } catch {
            await client.shutdown()
            throw error
        }
    }
}

import Foundation

/// Certificates made once per test run by the openssl command: an authority, a server, a client, and a second authority with
/// a client of its own that the server does not trust.
struct TestCertificates: Sendable {
    let directory: URL

    static let shared: TestCertificates = {
        do { return try TestCertificates() } catch { fatalError("openssl cannot make test certificates: \(error)") }
    }()

    func path(_ name: String) -> String { directory.appendingPathComponent(name).path }

    private init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("rpc-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        try authority("ca")
        try authority("other-ca")
        try leaf("server", by: "ca", names: "DNS:localhost,IP:127.0.0.1")
        try leaf("server2", by: "ca", names: "DNS:localhost,IP:127.0.0.1")
        try leaf("client", by: "ca", names: "URI:spiffe://test/billing,DNS:billing.test,email:a@b.test,IP:10.1.2.3")
        try leaf("stranger", by: "other-ca", names: "DNS:stranger.test")
    }

    private func authority(_ name: String) throws {
        try openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            path("\(name).key"),
            "-out",
            path("\(name).pem"),
            "-subj",
            "/CN=\(name)",
            "-addext",
            "basicConstraints=critical,CA:TRUE"
        )
    }

    func leaf(_ name: String, by authority: String, names: String, days: Int = 2) throws {
        let config = path("\(name).cnf")
        try "subjectAltName=\(names)\nbasicConstraints=CA:FALSE\n".write(
            toFile: config,
            atomically: true,
            encoding: .utf8
        )
        try openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            path("\(name).key"),
            "-out",
            path("\(name).csr"),
            "-subj",
            "/CN=\(name)"
        )
        try openssl(
            "x509",
            "-req",
            "-in",
            path("\(name).csr"),
            "-CA",
            path("\(authority).pem"),
            "-CAkey",
            path("\(authority).key"),
            "-CAcreateserial",
            "-days",
            "\(days)",
            "-out",
            path("\(name).pem"),
            "-extfile",
            config
        )
    }

    private func openssl(_ arguments: String...) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw CocoaError(.executableNotLoadable)
        }
    }
}

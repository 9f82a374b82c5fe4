import Foundation

/// An authority made by the openssl command, with a server and clients of their own names.
struct TestAuthority {
    let directory: String

    /// - Parameters:
    ///   - directory: made if it is not there.
    ///   - clients: a file name for each, and the names in its certificate, as `URI:spiffe://shop/ann`.
    init(directory: String, clients: [String: String] = [:]) throws {
        self.directory = directory
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try openssl(
            ["req", "-x509", "-nodes", "-days", "2", "-keyout", file("ca.key"), "-out", file("ca.pem")]
                + ["-subj", "/CN=test", "-addext", "basicConstraints=critical,CA:TRUE"] + Self.newKey
        )
        try write("audit.key", Data((0..<32).map { _ in UInt8.random(in: 0...255) }).base64EncodedString() + "\n")
        try issue("server", names: "DNS:localhost,IP:127.0.0.1")
        for (name, names) in clients { try issue(name, names: names) }
    }

    /// The settings of a server that asks for certificates of this authority, and a key for its audit.
    func serverArguments(clients: String = "require") -> [String] {
        [
            "--tls-certificate", file("server.pem"), "--tls-key", file("server.key"), "--tls-ca", file("ca.pem"),
            "--tls-clients", clients, "--audit-key-file", file("audit.key"),
        ]
    }

    private func write(_ name: String, _ text: String) throws {
        try text.write(toFile: file(name), atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file(name))
    }

    /// The options of a cohortctl that is one of the clients.
    func options(_ client: String) -> [String] {
        ["--cert", file("\(client).pem"), "--key", file("\(client).key")]
    }

    private static let newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]

    func file(_ name: String) -> String { directory + "/" + name }

    /// - Parameter days: of validity; below zero makes a certificate that has expired.
    func issue(_ name: String, names: String, days: Int = 2) throws {
        let extensions = file("\(name).cnf")
        try "subjectAltName=\(names)\nbasicConstraints=CA:FALSE\n"
            .write(toFile: extensions, atomically: true, encoding: .utf8)
        let request = file("\(name).csr")
        try openssl(
            ["req", "-nodes", "-keyout", file("\(name).key"), "-out", request, "-subj", "/CN=\(name)"] + Self.newKey
        )
        try openssl(
            ["x509", "-req", "-in", request, "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial"]
                + ["-days", "\(days)", "-out", file("\(name).pem"), "-extfile", extensions]
        )
    }

    private func openssl(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw HarnessError("openssl \(arguments.joined(separator: " ")) ended with \(process.terminationStatus)")
        }
    }
}

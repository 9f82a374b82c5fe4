import Foundation
import FoundationNetworking
import RPC

/// A real `cohort-sidecar` on a free port of loopback.
final class TestSidecar: Sendable {
    let program: RunningProgram
    let address: String

    init(server: Endpoint, ca: String, _ arguments: [String] = []) async throws {
        let poll = arguments.contains("--poll-seconds") ? [] : ["--poll-seconds", "0.1"]
        program = try RunningProgram(
            Programs.sidecar,
            ["--endpoint", "\(server)", "--ca", ca, "--listen", "127.0.0.1:0"] + poll + arguments
        )
        address = "\(try await TestServer.address(program))"
    }

    deinit { program.signal(SIGKILL) }

    /// SIGTERM, and waits for the end.
    func stop() async throws -> Int32 {
        program.signal(SIGTERM)
        return try await program.wait()
    }

    /// The value of a sample of `/metrics`; 0 where there is none.
    func sample(_ name: String) async throws -> Double {
        let page = try await get("/metrics").body
        let line = page.split(separator: "\n").first { $0.hasPrefix(name + " ") }
        return line.flatMap { Double($0.dropFirst(name.utf8.count + 1)) } ?? 0
    }

    /// Items of `kind` with an outcome.
    func items(_ kind: String, _ outcome: String) async throws -> Int {
        Int(try await sample("sidecar_export_items_total{kind=\"\(kind)\",outcome=\"\(outcome)\"}"))
    }

    func get(
        _ path: String,
        accept: String? = nil,
        authorization: String? = nil
    ) async throws -> (status: Int, type: String, body: String) {
        guard let url = URL(string: "http://\(address)\(path)") else { throw HarnessError("no URL: \(path)") }
        var request = URLRequest(url: url, timeoutInterval: 20)
        if let accept { request.setValue(accept, forHTTPHeaderField: "Accept") }
        if let authorization { request.setValue(authorization, forHTTPHeaderField: "Authorization") }
        let (data, response) = try await URLSession.shared.data(for: request)
        guard let response = response as? HTTPURLResponse else { throw HarnessError("no HTTP: \(response)") }
        let type = response.value(forHTTPHeaderField: "Content-Type") ?? ""
        return (response.statusCode, type, String(decoding: data, as: UTF8.self))
    }
}

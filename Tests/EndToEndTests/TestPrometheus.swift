import Foundation
import FoundationNetworking
import NIOCore
import NIOPosix

/// A real Prometheus that scrapes one target every second.
final class TestPrometheus: Sendable {
    let program: RunningProgram
    private let directory: TemporaryDirectory
    private let port: Int

    /// - Parameter rules: Files with rules, evaluated every second.
    init(target: String, rules: String? = nil) async throws {
        directory = try TemporaryDirectory()
        try directory.write(
            "prometheus.yml",
            """
            global: {scrape_interval: 1s, evaluation_interval: 1s}
            rule_files: [\(rules.map { "\"\($0)\"" } ?? "")]
            scrape_configs:
              - job_name: cohort
                static_configs: [{targets: ["\(target)"]}]
            """
        )
        // A port that was free a moment ago: Prometheus does not tell which one it was given.
        let free = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(
            host: "127.0.0.1",
            port: 0
        ).get()
        port = free.localAddress?.port ?? 0
        try await free.close()
        program = try RunningProgram(
            URL(fileURLWithPath: "/usr/bin/prometheus"),
            [
                "--config.file", directory.file("prometheus.yml"), "--storage.tsdb.path", directory.file("tsdb"),
                "--web.listen-address", "127.0.0.1:\(port)",
            ]
        )
    }

    deinit { program.signal(SIGKILL) }

    private struct Answer: Decodable {
        struct Data: Decodable { var result: [Sample] }
        struct Sample: Decodable { var value: [Part] }
        enum Part: Decodable {
            case time
            case value(Double?)
            init(from decoder: any Decoder) throws {
                let text = try? decoder.singleValueContainer().decode(String.self)
                self = text.map { .value(Double($0)) } ?? .time
            }
        }
        var data: Data
    }

    /// The value of a query that has one series; nil where it has none yet.
    func query(_ text: String) async -> Double? {
        let data = await get("query", [URLQueryItem(name: "query", value: text)])
        guard
            case .value(let value)? = try? JSONDecoder().decode(Answer.self, from: data).data.result.first?.value.last
        else { return nil }
        return value
    }

    /// What the API answers; nothing where it does not.
    func get(_ path: String, _ items: [URLQueryItem] = []) async -> Data {
        var parts = URLComponents(string: "http://127.0.0.1:\(port)/api/v1/\(path)")
        parts?.queryItems = items
        guard let url = parts?.url, let (data, _) = try? await URLSession.shared.data(from: url) else { return Data() }
        return data
    }
}

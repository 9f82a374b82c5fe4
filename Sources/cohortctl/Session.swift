import ArgumentParser
import CohortAPI
import Foundation
import Logging
import NIOPosix
import RPC

/// How answers are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case table
    case json
}

/// Where the server is, who we are to it, and how answers are printed.
struct SessionOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Server address.", valueName: "host:port"))
    var endpoint = environment("COHORT_ENDPOINT") ?? "127.0.0.1:7443"

    @Option(help: ArgumentHelp("PEM file with the authorities to trust. The system's when absent.", valueName: "file"))
    var ca: String?

    @Option(help: ArgumentHelp("PEM file with the client certificate.", valueName: "file"))
    var cert: String?

    @Option(help: ArgumentHelp("PEM file with the client certificate's key.", valueName: "file"))
    var key: String?

    @Option(
        help: ArgumentHelp(
            "File with a token, sent with every call. The token itself is taken from COHORT_TOKEN alone.",
            valueName: "file"
        )
    )
    var tokenFile: String?

    @Option(help: "How answers are printed: table or json.")
    var output = OutputFormat.table

    @Option(
        help: ArgumentHelp(
            "Longest time for one call, in seconds, 0.001 to 86400. 30 if absent; 3600 where everyone is classified.",
            valueName: "seconds"
        )
    )
    var timeout: Double?

    private static func environment(_ name: String) -> String? {
        let value = ProcessInfo.processInfo.environment[name]
        return value?.isEmpty == true ? nil : value
    }

    func validate() throws {
        if let timeout, !(0.001...86_400).contains(timeout) {
            throw ValidationError("--timeout is \(timeout); it takes 0.001 to 86400 seconds")
        }
    }

    /// Options of a call that is answered at once.
    var callOptions: CallOptions { options(30) }
    /// Options of a call that has every customer classified.
    var buildOptions: CallOptions { options(3_600) }

    private func options(_ seconds: Double) -> CallOptions {
        CallOptions(timeout: .milliseconds(Int64((timeout ?? seconds) * 1000)))
    }

    /// Runs `body` with a connected client, which is closed after it.
    func withClient<Result>(_ body: (Client) async throws -> Result) async throws -> Result {
        guard let endpoint = Endpoint(endpoint), endpoint.port > 0 else {
            throw CommandFailure.usage("--endpoint is '\(endpoint)'; it takes HOST:PORT, as 127.0.0.1:7443")
        }
        let ca = ca ?? Self.environment("COHORT_CA")
        let cert = cert ?? Self.environment("COHORT_CERT")
        let key = key ?? Self.environment("COHORT_KEY")
        guard (cert == nil) == (key == nil) else {
            throw CommandFailure.usage("--cert and --key go together; give both or none")
        }
        for (option, path) in [("--ca", ca), ("--cert", cert), ("--key", key)] {
            if let path, !FileManager.default.isReadableFile(atPath: path) {
                throw CommandFailure.usage("\(option): cannot read the file '\(path)'")
            }
        }
        var configuration = ClientConfiguration(
            endpoints: [endpoint],
            tls: ClientTLS(trustRootsPath: ca, certificateChainPath: cert, privateKeyPath: key)
        )
        configuration.token = try token()
        let client: Client
        do {
            // What goes wrong is reported as the error of a call.
            client = try Client(
                configuration,
                eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
                logger: Logger(label: "cohortctl", factory: { _ in SwiftLogNoOpLogHandler() })
            )
        } catch {
            let options = ["trustRootsPath": "--ca", "certificateChainPath": "--cert", "privateKeyPath": "--key"]
            throw CommandFailure.usage("\(options[error.setting] ?? error.setting): \(error.message)")
        }
        let result: Swift.Result<Result, any Error>
        do { result = .success(try await body(client)) } catch { result = .failure(error) }
        await client.shutdown()
        return try result.get()
    }

    private func token() throws -> BearerToken? {
        let path = tokenFile ?? Self.environment("COHORT_TOKEN_FILE")
        do {
            if let path { return try BearerToken(file: path) }
            return try Self.environment("COHORT_TOKEN").map { try BearerToken(token: $0) }
        } catch {
            throw CommandFailure.usage("\(path == nil ? "COHORT_TOKEN" : "--token-file"): \(error)")
        }
    }
}

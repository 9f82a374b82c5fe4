import ArgumentParser
import CohortAPI
import Foundation
import RPC

/// Loads a Cohort server and measures it.
@main
@available(macOS 15, *)
struct LoadTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cohort-loadtest",
        abstract: "Load a Cohort server and measure it.",
        discussion: "Exit status: 0 done, 1 failed or an objective missed, 2 wrong usage.",
        version: CohortRelease.version,
        subcommands: [Seed.self, Run.self, Capacity.self, Plan.self, Compare.self, Closed.self]
    )

    static func main() async {
        // A server that goes away is an error of the write, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let error as LoadFailure {
            end("error: \(error)", status: error.isUsage ? 2 : 1)
        } catch let error as ScenarioError {
            end("error: \(error)", status: 2)
        } catch let error as FileProblem {
            end("error: \(error)", status: 2)
        } catch let error as RPCError {
            end("error: \(error)", status: 1)
        } catch {
            let code = exitCode(for: error)
            let text = fullMessage(for: error)
            if code == .success {
                print(text)
                exit(withStatus: 0)
            }
            end(text, status: code == .validationFailure ? 2 : 1)
        }
    }

    private static func end(_ text: String, status: Int32) -> Never {
        if !text.isEmpty { FileHandle.standardError.write(Data((text + "\n").utf8)) }
        exit(withStatus: status)
    }

    private static func exit(withStatus status: Int32) -> Never { Foundation.exit(status) }
}

/// Where the server is.
struct ServerOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Server address.", valueName: "host:port")) var endpoint = "127.0.0.1:7443"
    @Option(help: ArgumentHelp("PEM file with the authorities to trust.", valueName: "file")) var ca: String?
    @Option(help: ArgumentHelp("PEM file with the client certificate.", valueName: "file")) var cert: String?
    @Option(help: ArgumentHelp("PEM file with the client certificate's key.", valueName: "file")) var key: String?

    @Option(help: ArgumentHelp("File with a token, sent with every call.", valueName: "file")) var tokenFile: String?

    func configuration() throws -> ClientConfiguration {
        guard let address = Endpoint(endpoint), address.port > 0 else {
            throw ValidationError("--endpoint is '\(endpoint)'; it takes HOST:PORT, as 127.0.0.1:7443")
        }
        var configuration = ClientConfiguration(
            endpoints: [address],
            tls: ClientTLS(trustRootsPath: ca, certificateChainPath: cert, privateKeyPath: key)
        )
        do { configuration.token = try tokenFile.map { try BearerToken(file: $0) } } catch {
            throw ValidationError("--token-file: \(error)")
        }
        return configuration
    }
}

/// The customers of the generated data set: the same for the same number.
struct Population {
    let customers: Int
    let idBytes: Int

    /// - Throws: `ValidationError` for a size of id that cannot tell the customers apart.
    init(customers: Int, idBytes: Int) throws {
        guard (1...999_999_999_999).contains(customers) else {
            throw ValidationError("--customers is \(customers); it takes 1 to 999999999999")
        }
        guard idBytes == 15 || idBytes == 36 else {
            throw ValidationError("--id-bytes is \(idBytes); it takes 15 (C and digits) or 36 (a UUID)")
        }
        self.customers = customers
        self.idBytes = idBytes
    }

    /// The id of the customer of this number: `C` and 14 digits, or a UUID. Both end in 12 digits, so that tools that
    /// can only count make the same ids.
    func id(_ number: Int) -> String {
        let digits = String(number)
        let zeros = String(repeating: "0", count: 12 - digits.count)
        return (idBytes == 15 ? "C00" : "00000000-0000-4000-8000-") + zeros + digits
    }

    func randomID(_ generator: inout SplitMix64) -> String {
        id(Int(generator.next() % UInt64(customers)))
    }

    /// What the customer of this number spends, 0 to 10,000.
    func dailySpend(_ number: Int) -> Double {
        var generator = SplitMix64(state: UInt64(number) ^ 0xD1B5_4A32_D192_ED03)
        return Double(generator.next() % 1_000_000) / 100
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct SplitMix64: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

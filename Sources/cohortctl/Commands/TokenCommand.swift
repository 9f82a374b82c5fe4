import ArgumentParser
import Foundation
import RPC

struct TokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Keys and tokens for development; in production an identity provider issues them.",
        subcommands: [Key.self, Mint.self]
    )

    struct Key: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "key",
            abstract: "Make a key to sign tokens with, and the public key set for the server.",
            discussion: "Neither file may be there yet. The server takes the key set with --auth-jwt-keys."
        )

        @Option(help: ArgumentHelp("Where the private key goes; readable by you alone.", valueName: "file"))
        var out: String

        @Option(help: ArgumentHelp("Where the public key set (JWKS) goes.", valueName: "file")) var jwks: String

        func run() async throws {
            let signer = TokenSigner()
            try write(signer.privateKey, to: out, mode: 0o600)
            try write(signer.publicKeys, to: jwks, mode: 0o644)
            print("key \(signer.identifier): private in \(out), public in \(jwks)")
        }

        /// With its mode from the first byte on, and never over another file.
        private func write(_ data: Data, to path: String, mode: mode_t) throws {
            let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL, mode)
            guard descriptor >= 0 else {
                throw CommandFailure.failed("cannot make the file '\(path)': \(String(cString: strerror(errno)))")
            }
            let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
            try file.write(contentsOf: data + Data("\n".utf8))
        }
    }

    struct Mint: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "mint",
            abstract: "Sign a token and print it.",
            discussion: "To a file that others cannot read: (umask 077; cohortctl token mint … > token)"
        )

        @Option(help: ArgumentHelp("The private key that 'token key' made.", valueName: "file")) var signingKey: String
        @Option(help: "Who the token is for: the claim 'sub'.") var subject: String
        @Option(help: "The claim 'iss'; the server's --auth-jwt-issuer.") var issuer: String
        @Option(help: "The claim 'aud'; the server's --auth-jwt-audience.") var audience: String
        @Option(help: ArgumentHelp("Time until it expires, in seconds, 1 to 31536000.", valueName: "seconds"))
        var lifetime = 3_600
        @Option(help: ArgumentHelp("A further claim; repeated, its values make a list.", valueName: "name=value"))
        var claim: [String] = []

        func validate() throws {
            guard (1...31_536_000).contains(lifetime) else {
                throw ValidationError("--lifetime is \(lifetime); it takes 1 to 31536000 seconds")
            }
        }

        func run() async throws {
            let file = SettingsFile(path: signingKey, secrecy: .secret)
            let signer: TokenSigner
            do { signer = try TokenSigner(privateKey: file.read()) } catch {
                throw CommandFailure.usage("--signing-key: \(error)")
            }
            let now = Date().timeIntervalSince1970.rounded(.down)
            var claims = TokenClaims(
                claims: ["sub": .text(subject), "iss": .text(issuer), "aud": .text(audience)],
                times: ["iat": now, "nbf": now, "exp": now + Double(lifetime)]
            )
            for (name, values) in try further() {
                claims.claims[name] = values.count == 1 ? .text(values[0]) : .list(values)
            }
            print(try await signer.sign(claims))
        }

        private func further() throws -> [String: [String]] {
            var further: [String: [String]] = [:]
            for text in claim {
                let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, !parts[0].isEmpty else {
                    throw CommandFailure.usage("--claim is '\(text)'; it takes NAME=VALUE")
                }
                guard !["sub", "iss", "aud", "exp", "nbf", "iat"].contains(String(parts[0])) else {
                    throw CommandFailure.usage("--claim \(parts[0]): this claim has an option of its own")
                }
                further[String(parts[0]), default: []].append(String(parts[1]))
            }
            return further
        }
    }
}

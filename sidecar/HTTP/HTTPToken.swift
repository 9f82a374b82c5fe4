import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import RPC
import Synchronization

/// The token that scrapers have to show, in a file that others may not read.
final class HTTPToken: Sendable {
    private struct State {
        var digest: SHA256.Digest
        var checkedAt: ContinuousClock.Instant
    }

    /// Fewer characters could be guessed.
    static let least = 16

    private let file: SettingsFile
    private let state: Mutex<State>

    /// - Throws: ``SettingsFile/Refused``.
    init(_ path: String) throws(SettingsFile.Refused) {
        file = SettingsFile(path: path, secrecy: .secret)
        state = Mutex(State(digest: try Self.digest(try file.read(), path), checkedAt: .now))
    }

    private static func digest(_ data: Data, _ path: String) throws(SettingsFile.Refused) -> SHA256.Digest {
        let token = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard token.utf8.count >= least, token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw .init(
                "'\(path)' holds no token: one word of at least \(least) characters of printable ASCII is needed, as of "
                    + "openssl rand -hex 32"
            )
        }
        return SHA256.hash(data: Data(token.utf8))
    }

    /// Whether an `Authorization` shows the token. Takes the same time whatever it shows: digests are compared, and those as a
    /// whole.
    func accepts(_ authorization: String?) -> Bool {
        refresh()
        guard let authorization else { return false }
        let parts = authorization.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return false }
        let shown = SHA256.hash(data: Data(parts[1].trimmingCharacters(in: .whitespaces).utf8))
        return state.withLock { $0.digest } == shown
    }

    /// Reads the file again when it has changed. One that cannot be used leaves the token as it was.
    private func refresh() {
        let isDue = state.withLock { state in
            let now = ContinuousClock.now
            guard now - state.checkedAt >= .seconds(1) else { return false }
            state.checkedAt = now
            return true
        }
        guard isDue, file.isStale, let data = try? file.read(), let digest = try? Self.digest(data, file.path) else {
            return
        }
        state.withLock { $0.digest = digest }
    }
}

/// Lets those in who show the token. Probes are for everybody: an orchestrator shows none, and they tell little.
struct TokenMiddleware<Context: RequestContext>: RouterMiddleware {
    let token: HTTPToken
    /// Paths for everybody, as `/livez`.
    let open: Set<String>

    @concurrent
    func handle(
        _ request: Request,
        context: Context,
        next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        guard open.contains(request.uri.path) || token.accepts(request.headers[.authorization]) else {
            return Response(status: .unauthorized, headers: [.wwwAuthenticate: #"Bearer realm="cohort-sidecar""#])
        }
        return try await next(request, context)
    }
}

/// Serves who asks for this machine by its own name, where there is no token: a page of elsewhere whose name was made to point here
/// (DNS rebinding) would read the dashboard in the operator's browser.
struct LocalNameMiddleware<Context: RequestContext>: RouterMiddleware {
    @concurrent
    func handle(
        _ request: Request,
        context: Context,
        next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        let authority = request.head.authority ?? ""
        let host =
            authority.hasPrefix("[") ? authority.dropFirst().prefix { $0 != "]" } : authority.prefix { $0 != ":" }
        guard HTTPProtection.isLoopback(String(host)) else { return Response(status: .misdirectedRequest) }
        return try await next(request, context)
    }
}

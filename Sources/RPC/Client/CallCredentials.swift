import Foundation
import Synchronization

/// A token that a client sends with its calls, as `authorization: Bearer …`.
///
/// From a file it is read again when that changes, at most once a second: short-lived tokens are replaced by whoever issues
/// them, and the next call carries the new one.
public final class BearerToken: Sendable {
    /// What is sent; one object as long as the token is the same.
    final class Authorization: Sendable {
        let value: String
        let metadata: Metadata

        init(token: String) {
            value = "Bearer " + token
            metadata = [AuthenticationInterceptor.metadataKey: value]
        }
    }

    private struct State {
        var current: Authorization
        var checkedAt: ContinuousClock.Instant
    }

    private let file: SettingsFile?
    private let state: Mutex<State>

    /// A token that stays as it is.
    ///
    /// - Throws: ``SettingsFile/Refused`` for one that is empty or holds spaces or control characters.
    public init(token: String) throws(SettingsFile.Refused) {
        file = nil
        state = Mutex(State(current: try Self.authorization(token, in: "it"), checkedAt: .now))
    }

    /// The token in a file, which others may not read.
    ///
    /// - Throws: ``SettingsFile/Refused``.
    public init(file path: String) throws(SettingsFile.Refused) {
        let file = SettingsFile(path: path, secrecy: .secret)
        let data = try file.read()
        self.file = file
        state = Mutex(
            State(
                current: try Self.authorization(String(decoding: data, as: UTF8.self), in: "'\(path)'"),
                checkedAt: .now
            )
        )
    }

    private static func authorization(_ text: String, in place: String) throws(SettingsFile.Refused) -> Authorization {
        let token = text.trimmingCharacters(in: .whitespacesAndNewlines)
        guard !token.isEmpty, token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw SettingsFile.Refused("\(place) holds no token: one word of printable ASCII is needed")
        }
        return Authorization(token: token)
    }

    /// What to send now. A file that cannot be read any more leaves the token as it was: the server says when it is over.
    func current(now: ContinuousClock.Instant = .now) -> Authorization {
        guard let file else { return state.withLock { $0.current } }
        let (current, isDue) = state.withLock { state -> (Authorization, Bool) in
            guard now - state.checkedAt >= .seconds(1) else { return (state.current, false) }
            state.checkedAt = now
            return (state.current, true)
        }
        guard isDue, file.isStale, let data = try? file.read(),
            let fresh = try? Self.authorization(String(decoding: data, as: UTF8.self), in: file.path),
            fresh.value != current.value
        else { return current }
        state.withLock { $0.current = fresh }
        return fresh
    }
}

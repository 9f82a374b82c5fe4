import NIOSSL
import Synchronization

/// The server's TLS context of the moment. New connections take the newest; those that run keep theirs.
final class TLSContextStore: Sendable {
    private struct State {
        var context: NIOSSLContext
        var stamp: [FileStamp?]
    }

    private let settings: ServerTLS
    private let state: Mutex<State>

    init(_ settings: ServerTLS) throws(TLSSettingsError) {
        self.settings = settings
        let stamp = Self.stamp(settings)
        state = Mutex(State(context: try settings.makeContext(), stamp: stamp))
    }

    var current: NIOSSLContext { state.withLock { $0.context } }

    /// Reads the files again. On an error the context before stays.
    func reload() throws(TLSSettingsError) {
        let stamp = Self.stamp(settings)
        do throws(TLSSettingsError) {
            let context = try settings.makeContext()
            state.withLock { $0 = State(context: context, stamp: stamp) }
        } catch {
            // Not tried again until the files change once more: whoever replaces two files does not do it at once.
            state.withLock { $0.stamp = stamp }
            throw error
        }
    }

    /// Whether a file differs from what was last read.
    var isStale: Bool {
        let stamp = Self.stamp(settings)
        return state.withLock { $0.stamp != stamp }
    }

    private static func stamp(_ settings: ServerTLS) -> [FileStamp?] {
        [settings.certificateChainPath, settings.privateKeyPath, settings.trustRootsPath].map { path in
            path.flatMap { FileStamp($0) }
        }
    }
}

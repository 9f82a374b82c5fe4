import NIOSSL
import Synchronization

/// The server's TLS context of the moment. New connections take the newest; those that run keep theirs.
final class TLSContextStore: Sendable {
    private struct State {
        var loaded: ServerTLS.Loaded
        var stamp: [FileStamp?]
    }

    private let settings: ServerTLS
    private let state: Mutex<State>

    init(_ settings: ServerTLS) throws(TLSSettingsError) {
        self.settings = settings
        let stamp = Self.stamp(settings)
        state = Mutex(State(loaded: try settings.load(), stamp: stamp))
    }

    var current: NIOSSLContext { state.withLock { $0.loaded.context } }
    /// When the first certificate of each owner expires, in seconds since 1970.
    var notAfter: [CertificateOwner: Int] { state.withLock { $0.loaded.notAfter } }

    /// Reads the files again. On an error the context before stays.
    func reload() throws(TLSSettingsError) {
        let stamp = Self.stamp(settings)
        do throws(TLSSettingsError) {
            let loaded = try settings.load()
            state.withLock { $0 = State(loaded: loaded, stamp: stamp) }
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

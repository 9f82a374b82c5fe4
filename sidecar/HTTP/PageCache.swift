import NIOCore
import Synchronization

/// Pages as they were last rendered: however many ask, and however slowly they read, there is one of each kind.
///
/// They hold for one version of what they tell, and go when there is another.
final class PageCache<Kind: Hashable & Sendable, Version: Equatable & Sendable>: Sendable {
    private struct State {
        var version: Version?
        var pages: [Kind: Task<ByteBuffer, any Error>] = [:]
    }

    private let state = Mutex(State())

    /// The page of this kind and version; who comes while it is being rendered gets that.
    func page(
        _ kind: Kind,
        of version: Version,
        _ render: @escaping @Sendable () throws -> ByteBuffer
    ) async throws -> ByteBuffer {
        let task = state.withLock { state in
            if state.version != version { state = State(version: version) }
            if let task = state.pages[kind] { return task }
            // Not a child of who asks first: that one may give up while others wait.
            let task = Task { try render() }
            state.pages[kind] = task
            return task
        }
        return try await task.value
    }
}

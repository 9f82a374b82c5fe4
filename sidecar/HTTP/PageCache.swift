import NIOCore
import Synchronization

/// The page of metrics as it was last rendered: however many ask, and however slowly they read, there is one of each format.
final class PageCache: Sendable {
    private struct Page {
        var bytes: ByteBuffer
        var at: ContinuousClock.Instant
    }

    private struct State {
        var pages: [PrometheusText.Format: Page] = [:]
        var running: [PrometheusText.Format: Task<ByteBuffer, Never>] = [:]
    }

    private let state = Mutex(State())

    /// A page not older than `age`; who comes while one is being rendered gets that.
    func page(
        _ format: PrometheusText.Format,
        notOlderThan age: Duration,
        _ render: @escaping @Sendable () async -> ByteBuffer
    ) async -> ByteBuffer {
        let task: Task<ByteBuffer, Never>? = state.withLock { state in
            if let page = state.pages[format], page.at.duration(to: .now) < age { return nil }
            if let running = state.running[format] { return running }
            // Not a child of who asks first: that one may give up while others wait.
            let task = Task { [self] in
                let bytes = await render()
                self.state.withLock { state in
                    state.pages[format] = Page(bytes: bytes, at: .now)
                    state.running[format] = nil
                }
                return bytes
            }
            state.running[format] = task
            return task
        }
        if let task { return await task.value }
        return state.withLock { $0.pages[format]?.bytes } ?? ByteBuffer()
    }
}

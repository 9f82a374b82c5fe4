import ServiceLifecycle
import UnixSignals

/// Somebody who was told something by a file.
protocol FileReader: Sendable {
    /// Reads the files that have changed, or all of them. What was in use stays where one cannot be used.
    func reload(all: Bool) async
}

/// Has files read again: those that have changed, every two seconds, and all of them at SIGHUP.
struct FileReload: Service {
    private static let period = Duration.seconds(2)

    let readers: [any FileReader]

    func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sighup)
        await cancelWhenGracefulShutdown {
            await withTaskGroup { group in
                group.addTask { for await _ in signals { await reload(all: true) } }
                group.addTask {
                    while (try? await Task.sleep(for: Self.period)) != nil { await reload(all: false) }
                }
            }
        }
    }

    private func reload(all: Bool) async { for reader in readers { await reader.reload(all: all) } }
}

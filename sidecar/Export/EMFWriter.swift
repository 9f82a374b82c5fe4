import Dispatch
import Foundation
import Logging
import Metrics
import OTLP
import ServiceLifecycle
import ServiceSettings
import Synchronization
import Telemetry

/// Writes metrics for CloudWatch, as lines that its agent or a log driver picks up.
final class EMFWriter: Service {
    private let settings: EMFSettings
    private let link: ServerLink
    private let own: @Sendable () -> OTLPMetricsData
    private let file: LogFile?
    private let state = Mutex(EMFState())
    private let logger: Logger
    // Who reads standard output may stop reading: then this queue waits, and nothing else does.
    private let queue = DispatchQueue(label: "cohort-sidecar.emf")
    private let isWriting = Atomic<Bool>(false)

    /// - Throws: ``SettingsError`` for a file that cannot be written.
    init(
        _ settings: EMFSettings,
        link: ServerLink,
        own: @escaping @Sendable () -> OTLPMetricsData,
        logger: Logger
    ) throws {
        self.settings = settings
        self.link = link
        self.own = own
        self.logger = logger
        guard let path = settings.file else {
            file = nil
            return
        }
        do throws(LogFile.Unusable) {
            file = try LogFile(LogFile.Settings(path: path, bytes: settings.fileBytes, count: 1))
        } catch {
            throw SettingsError("--emf-file: cannot write '\(path)': \(error.reason)")
        }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            while !Task.isCancelled {
                await write()
                try? await Task.sleep(for: settings.interval)
            }
        }
        await write()
        // What has been handed over is written before the process ends, unless nobody takes it.
        let end = ContinuousClock.now + .seconds(2)
        while isWriting.load(ordering: .acquiring), ContinuousClock.now < end {
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    private func write() async {
        // Before the totals are told off: what is left out now comes with the next set.
        guard isWriting.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged
        else { return count("full", 1) }
        let data = [await link.metrics(), own()].compactMap { $0 }
        let (lines, skipped) = state.withLock { state in
            let lines = state.lines(data, namespace: settings.namespace, now: WallClock.now())
            return (lines, state.skipped)
        }
        count("skipped", skipped)
        guard !lines.isEmpty else { return isWriting.store(false, ordering: .releasing) }
        queue.async { [self] in
            let lost = file.map { file in
                let before = file.linesLost
                for line in lines { file.write(line) }
                return Int(file.linesLost - before)
            }
            let missing = lost ?? Self.writeOut(lines)
            count("failed", missing)
            count("sent", lines.count - missing)
            isWriting.store(false, ordering: .releasing)
        }
    }

    /// To standard output; returns the number of lines that it did not take.
    private static func writeOut(_ lines: [String]) -> Int {
        do {
            try FileHandle.standardOutput.write(contentsOf: Data(lines.joined().utf8))
            return 0
        } catch { return lines.count }
    }

    private func count(_ outcome: String, _ lines: Int) {
        guard lines > 0 else { return }
        Counter(label: "sidecar.emf.lines", dimensions: [("outcome", outcome)]).increment(by: lines)
    }
}

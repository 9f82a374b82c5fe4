import Foundation
import Logging
import Metrics
import OTLP
import SwiftProtobuf
import Synchronization

/// One kind of export on its way to the collector: a bounded queue, and what empties it, one request after the other.
final class ExportLane: Sendable {
    private let kind: ExportKind
    private let queue: Mutex<ExportQueue>
    private let sender: OTLPSender
    private let isCompressed: Bool
    private let logger: Logger
    private let wakes: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation
    private let duration: Metrics.Timer
    /// What waits for the next try; nil where the collector has said when that is.
    private let pause = Mutex((isHurried: false, sleep: Task<Void, Never>?.none))
    /// When it was last said that the collector's answers are not what they should be.
    private let saidAt = Mutex<ContinuousClock.Instant?>(nil)

    init(_ kind: ExportKind, _ settings: OTLPSettings, sender: OTLPSender, logger: Logger) {
        self.kind = kind
        self.sender = sender
        self.logger = logger
        isCompressed = settings.isCompressed
        queue = Mutex(
            ExportQueue(items: kind == .spans ? settings.spans : .max, bytes: settings.bytes, age: settings.age)
        )
        (wakes, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        duration = Metrics.Timer(label: "sidecar.export.duration", dimensions: [("kind", kind.rawValue)])
    }

    var isEmpty: Bool { queue.withLock { $0.isEmpty } }

    /// Puts a message into the queue, and tells what had no room.
    func add(_ message: some Message, items: Int) {
        guard let plain: Data = try? message.serializedData() else { return count("refused", items) }
        let compressed = isCompressed ? Gzip.compress(plain) : nil
        let batch = ExportBatch(
            body: compressed ?? plain,
            items: items,
            isCompressed: compressed != nil,
            since: .now
        )
        count("full", queue.withLock { $0.add(batch) })
        wake.yield()
    }

    /// Sends until it is cancelled.
    func run() async {
        var retry = ExportRetry()
        var iterator = wakes.makeAsyncIterator()
        while !Task.isCancelled {
            let (batch, expired) = queue.withLock { $0.next(at: .now) }
            count("expired", expired)
            guard let batch else {
                guard await iterator.next() != nil else { return }
                continue
            }
            let begin = ContinuousClock.now
            let (outcome, body, problem) = await sender.send(batch, kind)
            duration.recordNanoseconds(Int64(begin.duration(to: .now) / .nanoseconds(1)))
            let failures = retry.failures
            switch retry.decide(outcome, now: Date(), random: .random(in: 0..<1)) {
            case .taken:
                queue.withLock { $0.done() }
                if failures > 0 { logger.info("the collector answers again", metadata: ["kind": "\(kind)"]) }
                request("ok")
                read(ExportAnswer(kind, body), of: batch)
            case .refused:
                queue.withLock { $0.done() }
                request("refused")
                count("refused", batch.items)
                log("the collector refuses what it is sent", problem)
            case .again(let wait):
                queue.withLock { $0.putBack() }
                request("again")
                if failures == 0, !Task.isCancelled {
                    logger.warning(
                        "the collector does not take what it is sent",
                        metadata: ["kind": "\(kind)", "error": "\(problem)"]
                    )
                }
                await self.wait(wait, isAsked: retry.isAsked)
            }
        }
    }

    private func wait(_ time: Duration, isAsked: Bool) async {
        // Looked at and put to sleep at once: who is hurried in between would sleep on.
        let sleep = pause.withLock { pause in
            let time = pause.isHurried && !isAsked ? min(time, .seconds(1)) : time
            let sleep = Task { _ = try? await Task.sleep(for: time) }
            pause.sleep = isAsked ? nil : sleep
            return sleep
        }
        await withTaskCancellationHandler {
            await sleep.value
        } onCancel: {
            sleep.cancel()
        }
    }

    /// The end is near: what waits for its next try is tried now, and each second, unless the collector has said when.
    func hurry() {
        pause.withLock { pause in
            pause.isHurried = true
            pause.sleep?.cancel()
        }
    }

    private func read(_ answer: ExportAnswer, of batch: ExportBatch) {
        switch answer {
        case .taken(let warning):
            count("sent", batch.items)
            if !warning.isEmpty { log("the collector warns", warning) }
        case .partly(let rejected, let message):
            let rejected = min(rejected, batch.items)
            count("rejected", rejected)
            count("sent", batch.items - rejected)
            log("the collector has rejected a part", message)
        case .unclear:
            count("unclear", batch.items)
            log("what answers is no collector", "status 200 without an answer of OTLP")
        }
    }

    /// At most every ten seconds: the counters tell how often.
    private func log(_ message: Logger.Message, _ detail: String) {
        let isDue = saidAt.withLock { saidAt in
            if let last = saidAt, last.duration(to: .now) < .seconds(10) { return false }
            saidAt = .now
            return true
        }
        guard isDue else { return }
        logger.warning(message, metadata: ["kind": "\(kind)", "error": "\(detail.prefix(500))"])
    }

    /// Gives up what waits.
    func close() {
        let lost = queue.withLock { $0.clear() }
        count("shutdown", lost)
        if lost > 0 {
            logger.warning("stopped before all was sent", metadata: ["kind": "\(kind)", "items": "\(lost)"])
        }
    }

    /// Brings the gauges up to date.
    func update() {
        let size = queue.withLock { $0.size }
        Gauge(label: "sidecar.export.queue.items", dimensions: [("kind", kind.rawValue)]).record(size.items)
        Gauge(label: "sidecar.export.queue.bytes", dimensions: [("kind", kind.rawValue)]).record(size.bytes)
    }

    private func count(_ outcome: String, _ items: Int) {
        guard items > 0 else { return }
        let dimensions = [("kind", kind.rawValue), ("outcome", outcome)]
        Counter(label: "sidecar.export.items", dimensions: dimensions).increment(by: items)
    }

    private func request(_ outcome: String) {
        let dimensions = [("kind", kind.rawValue), ("outcome", outcome)]
        Counter(label: "sidecar.export.requests", dimensions: dimensions).increment()
    }
}

import Foundation
import OTLP
import SwiftProtobuf
import Testing

@testable import cohort_sidecar

@Suite("Retry of exports")
struct ExportRetryTests {
    private let now = Date(timeIntervalSince1970: 1_700_000_000)

    private func decide(_ outcome: ExportRetry.Outcome) -> ExportRetry.Decision {
        var retry = ExportRetry()
        return retry.decide(outcome, now: now, random: 0.5)
    }

    @Test("Four statuses and no answer are tried again, success is taken, everything else is final")
    func statuses() {
        for status in 100..<600 {
            let decision = decide(.status(status, retryAfter: nil))
            switch status {
            case 200..<300: #expect(decision == .taken)
            case 429, 502, 503, 504: #expect(decision == .again(after: .seconds(1)))
            default: #expect(decision == .refused, "\(status)")
            }
        }
        #expect(decide(.none) == .again(after: .seconds(1)))
    }

    @Test("Retry-After is honoured as seconds and as a date, and is no reason to come sooner or never")
    func retryAfter() {
        let after = { (text: String) in decide(.status(503, retryAfter: text)) }
        #expect(after("7") == .again(after: .seconds(7)))
        #expect(after("Tue, 14 Nov 2023 22:13:50 GMT") == .again(after: .seconds(30)))
        // The date has passed, it is none, or it is now: the backoff holds.
        for text in ["Tue, 14 Nov 2023 22:13:00 GMT", "0", "soon", "-5", ""] {
            #expect(after(text) == .again(after: .seconds(1)), "\(text)")
        }
        for text in ["99999999999999999999999", "86400", "Tue, 14 Nov 2123 22:13:50 GMT"] {
            #expect(after(text) == .again(after: ExportRetry.longestWait), "\(text)")
        }
        #expect(decide(.status(400, retryAfter: "7")) == .refused)
    }

    @Test("A wait that the collector has asked for is told from one of the backoff")
    func asked() {
        var retry = ExportRetry()
        for (outcome, isAsked) in [
            (ExportRetry.Outcome.status(503, retryAfter: "7"), true), (.none, false),
            (.status(429, retryAfter: "1"), true), (.status(503, retryAfter: nil), false),
        ] {
            _ = retry.decide(outcome, now: now, random: 0.5)
            #expect(retry.isAsked == isAsked)
        }
    }

    @Test("Waits grow to half a minute, and begin anew after an answer")
    func backoff() {
        var retry = ExportRetry()
        let waits = (0..<7).map { _ in retry.decide(.none, now: now, random: 0.5) }
        #expect(waits == [1, 2, 4, 8, 16, 30, 30].map { .again(after: .seconds($0)) })
        #expect(retry.decide(.status(200, retryAfter: nil), now: now, random: 0.5) == .taken)
        #expect(retry.decide(.none, now: now, random: 0.5) == .again(after: .seconds(1)))
    }
}

@Suite("Queue of exports")
struct ExportQueueTests {
    private let start = ContinuousClock.now

    private func batch(_ items: Int, bytes: Int = 10, at seconds: Int = 0) -> ExportBatch {
        ExportBatch(body: Data(count: bytes), items: items, isCompressed: false, since: start + .seconds(seconds))
    }

    @Test("Without room the oldest go, whichever limit it is; the one being sent stays")
    func limits() {
        var queue = ExportQueue(items: 10, bytes: 100, age: .seconds(300))
        #expect(queue.add(batch(4)) == 0 && queue.add(batch(4)) == 0)
        #expect(queue.next(at: start).batch?.items == 4)
        #expect(queue.add(batch(3)) == 4)
        #expect(queue.size == (7, 20))
        // No room beside the one being sent, whatever goes: nothing goes for it.
        #expect(queue.add(batch(1, bytes: 91)) == 1)
        #expect(queue.size == (7, 20))
        queue.done()
        #expect(queue.size == (3, 10))
        #expect(queue.clear() == 3 && queue.isEmpty)
        #expect(queue.add(batch(11)) == 11 && queue.add(batch(1, bytes: 101)) == 1)
        #expect(queue.isEmpty)
    }

    @Test("What is tried again comes first, and may be dropped like the rest")
    func again() {
        var queue = ExportQueue(items: 10, bytes: 100, age: .seconds(300))
        _ = queue.add(batch(1))
        _ = queue.add(batch(2))
        _ = queue.next(at: start)
        queue.putBack()
        #expect(queue.next(at: start).batch?.items == 1)
        queue.putBack()
        #expect(queue.add(batch(8)) == 1)
        #expect(queue.next(at: start).batch?.items == 2)
    }

    @Test("What has become too old is not sent")
    func age() {
        var queue = ExportQueue(items: 10, bytes: 100, age: .seconds(60))
        _ = queue.add(batch(1))
        _ = queue.add(batch(2, at: 30))
        let next = queue.next(at: start + .seconds(61))
        #expect(next.batch?.items == 2 && next.expired == 1)
        #expect(queue.clear() == 2 && queue.size == (0, 0))
    }

    /// A minute without a collector: spans come at a steady pace, every retry fails, and time is what the policies are told.
    @Test(
        "A collector that is down for a minute costs at most what the limits say, and nothing is lost without being counted"
    )
    func minute() {
        var queue = ExportQueue(items: 2_000, bytes: 50_000, age: .seconds(300))
        var retry = ExportRetry()
        var (made, full, sent, tries, most) = (0, 0, 0, 0, (items: 0, bytes: 0))
        var notBefore = start
        for tick in 0..<900 {
            let now = start + .milliseconds(tick * 100)
            made += 50
            full += queue.add(ExportBatch(body: Data(count: 1_000), items: 50, isCompressed: true, since: now))
            most = (max(most.items, queue.size.items), max(most.bytes, queue.size.bytes))
            while now >= notBefore, queue.next(at: now).batch != nil {
                let isDown = tick < 600
                tries += isDown ? 1 : 0
                switch retry.decide(isDown ? .none : .status(200, retryAfter: nil), now: Date(), random: 0.5) {
                case .again(let wait):
                    queue.putBack()
                    notBefore = now + wait
                default:
                    sent += queue.next(at: now).batch?.items ?? 0
                    queue.done()
                }
            }
        }
        #expect(most.items <= 2_000 && most.bytes <= 50_000)
        #expect(most.items == 2_000)
        #expect((5...7).contains(tries))
        #expect(full > 0 && sent + full + queue.size.items == made)
        #expect(queue.isEmpty)
    }
}

@Suite("OTLP requests")
struct OTLPRequestTests {
    private func spans(_ count: Int, _ service: String = "a") -> OTLPTracesData {
        .with {
            $0.resourceSpans = [
                .with {
                    $0.resource.attributes = [
                        .with {
                            $0.key = "service.name"; $0.value.stringValue = service
                        }
                    ]
                    $0.scopeSpans = [.with { $0.spans = Array(repeating: OTLPSpan(), count: count) }]
                }
            ]
        }
    }

    @Test("Spans are gathered up to 512 or a second, and one process is named once")
    func batches() {
        let start = ContinuousClock.now
        var batcher = SpanBatcher()
        #expect(batcher.add(spans(0), at: start) == nil && batcher.due == nil)
        #expect(batcher.add(spans(200), at: start) == nil)
        #expect(batcher.add(spans(300), at: start + .milliseconds(900)) == nil)
        #expect(batcher.take(at: start + .milliseconds(999)) == nil)
        let full = batcher.add(spans(13, "b"), at: start + .milliseconds(999))
        #expect(full?.count == 500 && full?.spans.count == 1 && full?.spans[0].scopeSpans[0].spans.count == 500)
        #expect(batcher.take(at: start + .milliseconds(1_998)) == nil)
        #expect(batcher.take(at: start + .milliseconds(1_999))?.count == 13)
        #expect(batcher.take() == nil)
    }

    @Test("Metrics are split between metrics, and no point is lost")
    func split() {
        let metrics = (0..<5).map { number in
            OTLPMetric.with {
                $0.name = "m\(number)"
                $0.gauge.dataPoints = Array(repeating: OTLPNumberDataPoint(), count: number == 3 ? 2_500 : 900)
            }
        }
        let resource = OTLPResourceMetrics.with { $0.scopeMetrics = [.with { $0.metrics = metrics }] }
        let requests = MetricRequests.split([resource])
        #expect(requests.map(\.points) == [1_800, 900, 2_500, 900])
        #expect(requests.flatMap { $0.0.resourceMetrics[0].scopeMetrics[0].metrics.map(\.name) } == metrics.map(\.name))
    }

    @Test("An answer tells what was taken; text that is none of OTLP tells nothing")
    func answers() throws {
        #expect(ExportAnswer(.spans, Data()) == .taken(""))
        let partial = try OTLPExportTraceServiceResponse.with {
            $0.partialSuccess.rejectedSpans = 3
            $0.partialSuccess.errorMessage = "too long"
        }.serializedData()
        #expect(ExportAnswer(.spans, partial) == .partly(rejected: 3, "too long"))
        let warning = try OTLPExportMetricsServiceResponse.with { $0.partialSuccess.errorMessage = "old" }
            .serializedData()
        #expect(ExportAnswer(.metrics, warning) == .taken("old"))
        #expect(ExportAnswer(.spans, Data("<html>hello</html>".utf8)) == .unclear)
        // Decodes as fields that nobody knows.
        #expect(ExportAnswer(.metrics, Data([0x78, 0x01])) == .unclear)
    }

    @Test("Headers of a file are those of HTTP, and not the sidecar's own")
    func headers() throws {
        let parse = { (text: String) in try OTLPHeaders.parse(Data(text.utf8), "f") }
        #expect(try parse("# c\n\nX-Key: a b:c\r\nY:\n").map { "\($0.0)=\($0.1)" } == ["X-Key=a b:c", "Y="])
        for text in ["nothing", "A B: c", ": c", "Content-Type: x", "X: \u{7}"] {
            #expect(throws: (any Error).self) { try parse(text) }
        }
    }
}

@Suite("HTTP protection")
struct ConnectionWatchTests {
    private let start = ContinuousClock.now
    private let limits = ConnectionWatch.Limits(request: .seconds(10), idle: .seconds(60), body: 100)

    @Test("Who sends no request, reads no answer or stays idle is closed in time")
    func times() {
        var watch = ConnectionWatch(limits, at: start)
        #expect(watch.overdue(at: start + .seconds(9)) == nil && watch.overdue(at: start + .seconds(10)) == .noRequest)
        watch.head(at: start + .seconds(9))
        #expect(watch.overdue(at: start + .seconds(18)) == nil && watch.overdue(at: start + .seconds(19)) == .slow)
        // A second request does not give the first one time.
        watch.head(at: start + .seconds(15))
        #expect(watch.overdue(at: start + .seconds(19)) == .slow)
        watch.answered(at: start + .seconds(16))
        #expect(watch.overdue(at: start + .seconds(25)) == nil && watch.overdue(at: start + .seconds(26)) == .slow)
        watch.answered(at: start + .seconds(17))
        #expect(watch.overdue(at: start + .seconds(76)) == nil && watch.overdue(at: start + .seconds(77)) == .idle)
    }

    @Test("At the end an answer has two seconds more, whatever its limit; who would be closed sooner is")
    func end() {
        var slow = ConnectionWatch(limits, at: start)
        slow.head(at: start)
        slow.quiesce(at: start + .seconds(3))
        slow.quiesce(at: start + .seconds(4))
        #expect(slow.deadline == start + .seconds(5) && slow.overdue(at: start + .seconds(4)) == nil)
        #expect(slow.overdue(at: start + .seconds(5)) == .shutdown)
        // Another request does not give it time.
        slow.head(at: start + .seconds(4))
        slow.answered(at: start + .seconds(4))
        #expect(slow.overdue(at: start + .seconds(5)) == .shutdown)
        var silent = ConnectionWatch(limits, at: start)
        silent.quiesce(at: start + .seconds(9))
        #expect(silent.overdue(at: start + .seconds(10)) == .noRequest)
    }

    @Test("An answer to what was no request does not take the next one's time limit away")
    func noRequest() {
        var watch = ConnectionWatch(limits, at: start)
        watch.answered(at: start)
        watch.head(at: start + .seconds(1))
        #expect(watch.overdue(at: start + .seconds(11)) == .slow)
    }

    @Test("A body is as long as it may be, whatever the pieces")
    func bodies() {
        var watch = ConnectionWatch(limits, at: start)
        watch.head(at: start)
        #expect(watch.body(60) == nil && watch.body(40) == nil && watch.body(1) == .body)
        watch.head(at: start)
        #expect(watch.body(100) == nil)
    }

    @Test("Loopback is what it is said to be")
    func loopback() {
        for host in ["127.0.0.1", "127.9.8.7", "::1", "localhost"] { #expect(HTTPProtection.isLoopback(host)) }
        for host in ["0.0.0.0", "::", "127.0.0.1.example.com", "10.0.0.1", "127.1", "host"] {
            #expect(!HTTPProtection.isLoopback(host), "\(host)")
        }
    }

    @Test("A token is shown by Bearer and as a whole; the file may change, and has to be secret")
    func token() throws {
        let path = NSTemporaryDirectory() + "token-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let write = { (text: String, mode: Int) in
            try text.write(toFile: path, atomically: true, encoding: .utf8)
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        }
        try write("0123456789abcdef\n", 0o600)
        let token = try HTTPToken(path)
        #expect(token.accepts("Bearer 0123456789abcdef") && token.accepts("bearer  0123456789abcdef"))
        let others = [
            nil, "", "Bearer", "Bearer ", "Basic 0123456789abcdef", "Bearer 0123456789abcde",
            "Bearer 0123456789abcdefg",
            "0123456789abcdef",
        ]
        for other in others { #expect(!token.accepts(other), "\(other ?? "nil")") }
        try write("0123456789abcdef\n", 0o644)
        #expect(throws: (any Error).self) { try HTTPToken(path) }
        try write("short", 0o600)
        #expect(throws: (any Error).self) { try HTTPToken(path) }
    }
}

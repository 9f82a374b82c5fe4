import Testing

@testable import Telemetry

/// After the rules of the W3C recommendation Trace Context, level 1.
@Suite("Trace context")
struct TraceContextTests {
    private static let trace = "0af7651916cd43dd8448eb211c80319c"
    private static let span = "b7ad6b7169203331"

    @Test("A parent is read and written")
    func parent() throws {
        let context = try #require(TraceContext(parent: "00-\(Self.trace)-\(Self.span)-01"))
        #expect(context.traceID.description == Self.trace)
        #expect(context.spanID.description == Self.span)
        #expect(context.isSampled)
        #expect(context.parentText == "00-\(Self.trace)-\(Self.span)-01")
        #expect(TraceContext(parent: "00-\(Self.trace)-\(Self.span)-02")?.isSampled == false)
        #expect(TraceContext(parent: "00-\(Self.trace)-\(Self.span)-ff")?.isSampled == true)
    }

    @Test("A later version is read as far as this one goes")
    func later() {
        #expect(TraceContext(parent: "cc-\(Self.trace)-\(Self.span)-01") != nil)
        #expect(TraceContext(parent: "cc-\(Self.trace)-\(Self.span)-01-more") != nil)
        #expect(TraceContext(parent: "cc-\(Self.trace)-\(Self.span)-01more") == nil)
    }

    @Test(
        "What is not valid is no parent",
        arguments: [
            "", "00", "00-\(trace)-\(span)", "00-\(trace)-\(span)-1", "00-\(trace)-\(span)-01-",
            "00-\(trace)-\(span)-011",
            "ff-\(trace)-\(span)-01", "0-\(trace)-\(span)-01", "00-00000000000000000000000000000000-\(span)-01",
            "00-\(trace)-0000000000000000-01", "00-\(trace.uppercased())-\(span)-01",
            "00-\(trace)-\(span.uppercased())-01",
            "00_\(trace)_\(span)_01", "00-\(trace)-b7ad6b716920333g-01", " 00-\(trace)-\(span)-01",
            "0x-\(trace)-\(span)-01",
            "00-\(trace)-\(span)-0X",
        ]
    )
    func invalid(text: String) { #expect(TraceContext(parent: text) == nil) }

    @Test("New ids are never zero and of full length")
    func random() {
        for _ in 0..<1_000 {
            #expect(TraceID.random().isValid)
            #expect(SpanID.random().isValid)
        }
        #expect(TraceID(high: 0, low: 1).description == String(repeating: "0", count: 31) + "1")
        #expect(TraceID(high: 0, low: 1).data.count == 16)
        #expect(SpanID(1).data.count == 8)
    }

    @Test("States of several headers are one")
    func state() {
        #expect(TraceState.combined(["a=1,b=2", " c@d=3 ,, "]) == "a=1,b=2,c@d=3")
        #expect(TraceState.combined([]) == "")
        #expect(TraceState.combined(["1@a=x"]) == "1@a=x")
        let most = (0..<32).map { "k\($0)=v" }.joined(separator: ",")
        #expect(TraceState.combined([most]) == most)
    }

    @Test(
        "A state that is invalid anywhere is dropped as a whole",
        arguments: [
            "a", "=1", "a=", "A=1", "a=1,a=2", "1a=1", "a@=1", "@a=1", "a@b@c=1", "a=b=c", "a=\u{7f}", "a=é",
            (0..<33).map { "k\($0)=v" }.joined(separator: ","), "a=" + String(repeating: "x", count: 257),
            String(repeating: "a", count: 257) + "=1",
        ]
    )
    func invalidState(text: String) { #expect(TraceState.combined(["ok=1", text]) == "") }

    @Test("About the asked part is chosen, none at 0 and all at 1")
    func sampling() {
        let share = { (ratio: Double) in
            let sampler = Sampler(ratio: ratio, seed: 7)
            return (0..<100_000).count { sampler.chooses(UInt64($0) * 1_000, UInt64($0 % 64)) }
        }
        #expect(share(0) == 0)
        #expect(share(1) == 100_000)
        // Five standard deviations.
        #expect(abs(share(0.01) - 1_000) < 160)
        #expect(abs(share(0.5) - 50_000) < 800)
        let other = Sampler(ratio: 0.5, seed: 8)
        let one = Sampler(ratio: 0.5, seed: 7)
        #expect((0..<1_000).contains { one.chooses(UInt64($0), 1) != other.chooses(UInt64($0), 1) })
    }
}

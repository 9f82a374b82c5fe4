import NIOCore
import OTLP
import SwiftProtobuf
import Synchronization
import Testing

@testable import cohort_sidecar

@Suite("What is asked and rendered once for many")
struct CacheTests {
    private final class Count: Sendable {
        let value = Atomic<Int>(0)
        func next() -> Int { value.wrappingAdd(1, ordering: .relaxed).newValue }
    }

    @Test("A page is rendered once for each kind and version, and one of another version does not serve")
    func pages() async throws {
        let pages = PageCache<String, Int>()
        let renders = Count()
        func page(_ kind: String, _ version: Int) async throws -> String {
            let page = try await pages.page(kind, of: version) {
                ByteBuffer(string: "\(kind)\(version): \(renders.next())")
            }
            return String(buffer: page)
        }
        let many = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<50 { group.addTask { try await page("a", 1) } }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(many == ["a1: 1"])
        #expect(try await page("b", 1) == "b1: 2")
        // However young the page is.
        #expect(try await page("a", 2) == "a2: 3")
        #expect(try await page("b", 2) == "b2: 4")
        #expect(try await page("a", 2) == "a2: 3")
    }

    @Test(
        "An answer serves for its age from when it came, and so does that there was none; meanwhile nobody asks again"
    )
    func scrape() async {
        let start = ContinuousClock.now
        let now = Mutex(start)
        let scrape = Scrape { now.withLock { $0 } }
        let asked = Count()
        func at(_ seconds: Double, answers: Bool = true, takes: Double = 0) async -> MetricsReading {
            now.withLock { $0 = start + .seconds(seconds) }
            return await scrape.value(notOlderThan: .seconds(10)) {
                now.withLock { $0 += .seconds(takes) }
                let number = asked.next()
                guard answers else { return nil }
                return .with { $0.resourceMetrics = Array(repeating: .init(), count: number) }
            }
        }
        #expect(await at(0, takes: 3).at == start + .seconds(3))
        for seconds in [3, 12.9] {
            let reading = await at(seconds)
            #expect(reading.data?.resourceMetrics.count == 1 && reading.at == start + .seconds(3))
        }
        let second = await at(13, answers: false)
        #expect(second.data == nil && second.at == start + .seconds(13))
        #expect(await at(22).data == nil)
        #expect(await at(23).data?.resourceMetrics.count == 3)
        // With no age everybody asks.
        for _ in 0..<2 {
            _ = await scrape.value(notOlderThan: .zero) {
                _ = asked.next(); return nil
            }
        }
        #expect(asked.value.load(ordering: .relaxed) == 5)
    }

    @Test("Who asks while the answer is on its way gets that one")
    func together() async {
        let scrape = Scrape()
        let asked = Count()
        let (gate, open) = AsyncStream<Void>.makeStream()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    _ = await scrape.value(notOlderThan: .zero) {
                        _ = asked.next()
                        for await _ in gate {}
                        return nil
                    }
                }
            }
            while await scrape.waiting < 20 { await Task.yield() }
            open.finish()
        }
        #expect(asked.value.load(ordering: .relaxed) == 1)
    }
}

import Testing

@testable import CohortCore

@Suite("Event time")
struct EventTimeTests {
    @Test("Sources that cross in time keep what is theirs, in any order of arrival")
    func crossing() async throws {
        typealias Event = (time: Int64, attributes: [String: AttributeValue?])
        let events: [Event] = [
            (10, ["daily_spend": .double(1), "user_type": .string("A")]),
            (20, ["daily_spend": .double(2)]),
            (30, ["user_type": nil]),
            (40, ["daily_spend": .double(1)]),
            (25, ["user_type": .string("B"), "daily_spend": .double(9)]),
        ]
        var orders: [[Event]] = [[]]
        for event in events {
            orders = orders.flatMap { order in
                (0...order.count).map { place in Array(order[..<place]) + [event] + Array(order[place...]) }
            }
        }
        #expect(orders.count == 120)
        try await withEngine { engine, _ in
            for (i, order) in orders.enumerated() {
                for event in order { try await engine.put("c\(i)", event.attributes, at: event.time) }
                let view = try await engine.customer(id: "c\(i)", deadline: .far)
                #expect(view.attributes.map(\.value) == [.double(1)])
                #expect(view.attributes.map(\.eventTime.seconds) == [40])
            }
        }
    }

    @Test("Of equal times the later arrival wins")
    func equalTimes() async throws {
        try await withEngine { engine, _ in
            try await engine.put("a", ["daily_spend": .double(1)], at: 100)
            #expect(try await engine.put("a", ["daily_spend": .double(2)], at: 100).outcome == .updated)
            #expect(try await engine.put("a", ["daily_spend": .double(2)], at: 100).outcome == .unchanged)
            #expect(try await engine.put("a", ["daily_spend": nil], at: 100).outcome == .updated)
            #expect(try await engine.customer(id: "a", deadline: .far).attributes == [])
        }
    }

    @Test("STALE only if every attribute was; neither STALE nor UNCHANGED takes a sequence")
    func stale() async throws {
        try await withEngine { engine, _ in
            let first = try await engine.put("a", ["daily_spend": .double(1)], at: 100)
            let stale = try await engine.put("a", ["daily_spend": .double(2)], at: 99)
            #expect(stale == PutResult(sequence: first.sequence, outcome: .stale))
            let mixed = try await engine.put("a", ["daily_spend": .double(2), "user_type": .string("x")], at: 99)
            #expect(mixed.outcome == .updated && mixed.sequence == first.sequence + 1)
            let view = try await engine.customer(id: "a", deadline: .far)
            #expect(view.attributes.map(\.value) == [.double(1), .string("x")])
            let same = try await engine.put("a", ["daily_spend": .double(1)])
            #expect(same == PutResult(sequence: mixed.sequence, outcome: .unchanged))
            let nothing = try await engine.put("a", [:])
            #expect(nothing == PutResult(sequence: mixed.sequence, outcome: .unchanged))
        }
    }

    @Test("A deletion's time holds back older values")
    func deletion() async throws {
        try await withEngine { engine, _ in
            try await engine.put("a", ["daily_spend": nil], at: 200)
            #expect(try await engine.put("a", ["daily_spend": .double(1)], at: 150).outcome == .stale)
            #expect(try await engine.put("a", ["daily_spend": .double(1)], at: 250).outcome == .updated)
        }
    }

    @Test("Up to five minutes ahead is taken, more is refused")
    func future() async throws {
        try await withEngine { engine, clock in
            let now = clock.now.seconds
            try await engine.put("a", ["daily_spend": .double(1)], at: now + 300)
            let error = await domainError { try await engine.put("a", ["daily_spend": .double(1)], at: now + 301) }
            guard case .invalidArgument(let violations) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(violations.map(\.field) == ["event_time"])
            // Without a time of its own a put is of now, which is before.
            #expect(try await engine.put("a", ["daily_spend": .double(2)]).outcome == .stale)
            clock.advance(seconds: 301)
            #expect(try await engine.put("a", ["daily_spend": .double(2)]).outcome == .updated)
        }
    }

    @Test("Commit time never goes back with the clock")
    func clockGoesBack() async throws {
        try await withEngine { engine, clock in
            try await engine.put("a", ["daily_spend": .double(1)])
            let before = clock.now
            clock.advance(seconds: -3_600)
            #expect(try await engine.put("a", ["daily_spend": .double(2)]).outcome == .updated)
            let view = try await engine.customer(id: "a", deadline: .far)
            #expect(view.attributes.first?.eventTime == before)
        }
    }
}

import NIOCore
import RPC
import Synchronization
import Testing

@Suite("Overload policies")
struct OverloadPolicyTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    // MARK: Rates

    @Test("a schedule that is shared is the same as one that is not")
    func sharedRate() {
        let limit = GCRA.Limit(perSecond: 100, burst: 7)
        var random = SeededGenerator(seed: 9)
        var own = GCRA()
        let shared = SharedGCRA()
        var now = start
        var refused = 0
        for _ in 0..<10_000 {
            now = now + .microseconds(Int64.random(in: 0..<12_000, using: &random))
            let wait = shared.admit(at: now, limit: limit)
            #expect(wait == own.admit(at: now, limit: limit))
            if wait != nil { refused += 1 }
            #expect(shared.isIdle(at: now) == own.isIdle(at: now))
        }
        #expect(refused > 100)
    }

    @Test("threads that share a schedule get no more than it allows together")
    func contendedRate() async {
        let limit = GCRA.Limit(perSecond: 1, burst: 1_000)
        let shared = SharedGCRA()
        let start = start
        let passed = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask { (0..<1_000).count { _ in shared.admit(at: start, limit: limit) == nil } }
            }
            return await group.reduce(0, +)
        }
        #expect(passed == 1_000)
    }

    // MARK: Concurrency

    @Test("the limit grows while calls are as fast as ever, and shrinks to its minimum when they get slow")
    func gradient() {
        var policy = GradientLimit.Policy()
        (policy.initial, policy.minimum, policy.maximum) = (100, 10, 400)
        var limit = GradientLimit(policy)
        for _ in 0..<1_000 { limit.record(seconds: 0.001, inFlight: limit.limit) }
        #expect(limit.limit == 400)
        for _ in 0..<60 { limit.record(seconds: 0.02, inFlight: limit.limit) }
        #expect(limit.limit < 60)
        // The long run takes the load for normal only slowly, and finds back quickly.
        for _ in 0..<600 { limit.record(seconds: 0.001, inFlight: limit.limit) }
        #expect(limit.limit == 400)
    }

    @Test("calls that fail by overload shrink it by a tenth for each round of them; those that had no time say nothing")
    func drops() {
        var policy = GradientLimit.Policy()
        (policy.initial, policy.minimum, policy.maximum) = (100, 50, 400)
        var limit = GradientLimit(policy)
        for _ in 0..<10 { limit.record(seconds: 0.01, inFlight: 1) }
        for _ in 0..<100 { limit.dropped(seconds: 0.005, inFlight: 100) }
        #expect(limit.limit == 100)
        for _ in 0..<100 { limit.dropped(seconds: 0.02, inFlight: 100) }
        #expect(limit.limit == 90)
        limit.dropped(seconds: 0.02, inFlight: 90)
        #expect(limit.limit == 81)
        for _ in 0..<10_000 { limit.dropped(seconds: 0.02, inFlight: 90) }
        #expect(limit.limit == 50)
        for _ in 0..<1_000 { limit.record(seconds: 0.01, inFlight: limit.limit) }
        #expect(limit.limit == 400)
    }

    @Test("what is not used tells nothing")
    func unused() {
        var limit = GradientLimit()
        for _ in 0..<100 { limit.record(seconds: 0.001, inFlight: 3) }
        for _ in 0..<100 { limit.record(seconds: 1, inFlight: 3) }
        #expect(limit.limit == 1_024)
    }

    private func queue(running: Int, waiting: Int) -> AdmissionQueue {
        var policy = AdmissionQueue.Policy()
        (policy.limit.initial, policy.limit.minimum, policy.limit.maximum) = (running, running, running)
        policy.capacity = waiting
        return AdmissionQueue(policy)
    }

    @Test("as many run as may; the most critical of those that wait goes first, the others in order")
    func order() {
        var queue = queue(running: 1, waiting: 10)
        #expect(queue.arrive(.critical, deadline: nil, at: start) == .run)
        #expect(queue.arrive(.sheddable, deadline: nil, at: start) == .wait(1, displaced: nil))
        #expect(queue.arrive(.critical, deadline: nil, at: start) == .wait(2, displaced: nil))
        #expect(queue.arrive(.criticalPlus, deadline: nil, at: start) == .wait(3, displaced: nil))
        #expect(queue.arrive(.critical, deadline: nil, at: start) == .wait(4, displaced: nil))
        #expect(queue.inFlight == 1 && queue.waiting == 4)
        var ran: [AdmissionQueue.Release] = []
        for _ in 0..<4 { ran += queue.ended(.untold, at: start) }
        #expect(ran == [.run(3), .run(2), .run(4), .run(1)])
        #expect(queue.ended(.untold, at: start) == [])
        #expect(queue.inFlight == 0 && queue.waiting == 0)
    }

    @Test("a full queue refuses, unless someone less critical waits: the newest of those makes room")
    func displacement() {
        var queue = queue(running: 1, waiting: 2)
        _ = queue.arrive(.critical, deadline: nil, at: start)
        _ = queue.arrive(.sheddable, deadline: nil, at: start)
        _ = queue.arrive(.sheddable, deadline: nil, at: start)
        #expect(queue.arrive(.sheddable, deadline: nil, at: start) == .refuse(.queueFull))
        #expect(queue.arrive(.sheddablePlus, deadline: nil, at: start) == .wait(3, displaced: 2))
        #expect(queue.arrive(.critical, deadline: nil, at: start) == .wait(4, displaced: 1))
        #expect(queue.arrive(.critical, deadline: nil, at: start) == .wait(5, displaced: 3))
        #expect(queue.arrive(.critical, deadline: nil, at: start) == .refuse(.queueFull))
        #expect(queue.waiting == 2)
        #expect(queue.cancel(4) == true)
        #expect(queue.cancel(4) == false)
        #expect(queue.ended(.untold, at: start) == [.run(5)])
    }

    @Test("failures tell how long calls take now: a call that has less is not run, though those that succeed were fast")
    func currentTime() {
        var policy = AdmissionQueue.Policy()
        policy.limit.initial = 2
        policy.limit.minimum = 2
        policy.limit.maximum = 2
        var queue = AdmissionQueue(policy)
        var now = start
        func run() {
            let arrival = queue.arrive(.critical, deadline: nil, at: now)
            #expect(arrival == .run)
        }
        run()
        run()
        for _ in 0..<50 {
            now = now + .milliseconds(1)
            _ = queue.ended(.measured(since: now - .milliseconds(1)), at: now)
            run()
        }
        // It has just enough, by what calls took until now.
        let first = queue.arrive(.critical, deadline: now + .milliseconds(40), at: now)
        #expect(first == .wait(1, displaced: nil))
        let isCancelled = queue.cancel(1)
        #expect(isCancelled)
        for _ in 0..<50 {
            now = now + .milliseconds(100)
            _ = queue.ended(.dropped(since: now - .milliseconds(100)), at: now)
            run()
        }
        #expect(queue.arrive(.critical, deadline: now + .milliseconds(40), at: now) == .refuse(.deadline))
        #expect(queue.arrive(.critical, deadline: now + .milliseconds(400), at: now) == .wait(2, displaced: nil))
        // Its turn comes when it has too little left.
        now = now + .milliseconds(350)
        let ended = queue.ended(.dropped(since: now - .milliseconds(100)), at: now)
        #expect(ended == [.refuse(2, .deadline)])
    }

    @Test("a call gets a place only where the estimate leaves a part of its time unused")
    func usableTime() {
        var queue = queue(running: 1, waiting: 10)
        #expect(queue.arrive(.critical, deadline: nil, at: start) == .run)
        let now = start + .milliseconds(30)
        _ = queue.ended(.measured(since: start), at: now)
        #expect(queue.arrive(.critical, deadline: nil, at: now) == .run)
        // 30 ms until that one has ended, and 30 of its own: half of 120.
        #expect(queue.arrive(.critical, deadline: now + .milliseconds(119), at: now) == .refuse(.deadline))
        #expect(queue.arrive(.critical, deadline: now + .milliseconds(121), at: now) == .wait(1, displaced: nil))
    }

    @Test("what cannot be answered by its deadline is refused: when it comes, or when its turn does")
    func deadlines() {
        var queue = queue(running: 1, waiting: 10)
        // Calls take 100 ms.
        for _ in 0..<3 {
            _ = queue.arrive(.critical, deadline: nil, at: start)
            _ = queue.ended(.measured(since: start - .milliseconds(100)), at: start)
        }
        _ = queue.arrive(.critical, deadline: nil, at: start)
        #expect(queue.arrive(.critical, deadline: start + .milliseconds(150), at: start) == .refuse(.deadline))
        #expect(queue.arrive(.critical, deadline: start + .milliseconds(410), at: start) == .wait(1, displaced: nil))
        #expect(queue.arrive(.critical, deadline: start + .milliseconds(410), at: start) == .refuse(.deadline))
        #expect(queue.arrive(.critical, deadline: nil, at: start) == .wait(2, displaced: nil))
        // The first took longer than was to be expected.
        let releases = queue.ended(.untold, at: start + .milliseconds(350))
        #expect(releases == [.refuse(1, .deadline), .run(2)])
    }

    @Test("nobody waits for longer than is allowed")
    func longestWait() {
        var queue = queue(running: 1, waiting: 10)
        _ = queue.arrive(.critical, deadline: nil, at: start)
        _ = queue.arrive(.critical, deadline: nil, at: start)
        _ = queue.arrive(.critical, deadline: nil, at: start + .milliseconds(500))
        let releases = queue.ended(.untold, at: start + .milliseconds(1_001))
        #expect(releases == [.refuse(1, .waitedTooLong), .run(2)])
    }

    @Test("where nothing ends, those that have waited for too long are released as well")
    func expiry() {
        var queue = queue(running: 1, waiting: 10)
        _ = queue.arrive(.critical, deadline: nil, at: start)
        _ = queue.arrive(.sheddable, deadline: nil, at: start)
        _ = queue.arrive(.critical, deadline: nil, at: start + .milliseconds(500))
        #expect(queue.expire(at: start + .milliseconds(1_000)) == [])
        #expect(queue.expire(at: start + .milliseconds(1_001)) == [.refuse(1, .waitedTooLong)])
        #expect(queue.waiting == 1 && queue.inFlight == 1)
        #expect(queue.ended(.untold, at: start + .milliseconds(1_002)) == [.run(2)])
    }

    @Test(
        "random calls: no more run than may, none is lost, none is released twice",
        arguments: 0..<20 as Range<UInt64>
    )
    func conservation(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var queue = queue(
            running: Int.random(in: 1...4, using: &random),
            waiting: Int.random(in: 0...6, using: &random)
        )
        let limit = queue.limit
        var waiting: Set<UInt64> = []
        var running = 0
        var now = start
        func release(_ releases: [AdmissionQueue.Release]) {
            for release in releases {
                switch release {
                case .run(let id):
                    #expect(waiting.remove(id) != nil)
                    running += 1
                case .refuse(let id, _): #expect(waiting.remove(id) != nil)
                }
            }
        }
        for _ in 0..<3_000 {
            now = now + .milliseconds(Int64.random(in: 0..<200, using: &random))
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<6:
                let criticality = Criticality.allCases.randomElement(using: &random) ?? .critical
                let ms = Int64.random(in: 0..<2_000, using: &random)
                let deadline: NIODeadline? = Bool.random(using: &random) ? now + .milliseconds(ms) : nil
                switch queue.arrive(criticality, deadline: deadline, at: now) {
                case .run: running += 1
                case .wait(let id, let displaced):
                    if let displaced { #expect(waiting.remove(displaced) != nil) }
                    #expect(waiting.insert(id).inserted)
                case .refuse: break
                }
            case 6..<9 where running > 0:
                running -= 1
                let began = now - .milliseconds(50)
                let endings: [AdmissionQueue.Ending] = [.untold, .measured(since: began), .dropped(since: began)]
                let ending = endings.randomElement(using: &random) ?? .untold
                release(queue.ended(ending, at: now))
            default:
                if let id = waiting.sorted().first {
                    let wasWaiting = queue.cancel(id)
                    #expect(wasWaiting)
                    waiting.remove(id)
                }
            }
            #expect(running <= limit && running == queue.inFlight && waiting.count == queue.waiting)
            // Whoever waits waits for someone.
            #expect(waiting.isEmpty || running == limit)
        }
    }

    // MARK: Shedding

    @Test("the level rises while work waits too long and falls while it does not, from the least critical on")
    func shedding() {
        var shedder = LoadShedder()
        for _ in 0..<100 { shedder.observe(.milliseconds(10)) }
        #expect(shedder.level == 0)
        for _ in 0..<10 { shedder.observe(.milliseconds(200)) }
        #expect(abs(shedder.level - 0.5) < 1e-9)
        func part(_ criticality: Criticality, _ level: Double) -> Double {
            Double((0..<1_000).count { LoadShedder.sheds(criticality, level: level, random: Double($0) / 1_000) })
                / 1_000
        }
        #expect(part(.sheddable, 0.5) == 0.5 && part(.sheddablePlus, 0.5) == 0)
        #expect(part(.sheddable, 1.25) == 1 && part(.sheddablePlus, 1.25) == 0.25 && part(.critical, 1.25) == 0)
        #expect(part(.critical, 2.5) == 0.5 && part(.critical, 3) == 0.9 && part(.criticalPlus, 3) == 0)
        for _ in 0..<200 { shedder.observe(.seconds(1)) }
        #expect(shedder.level == 3)
        // A wait of exactly what is allowed changes nothing.
        shedder.observe(.milliseconds(50))
        #expect(shedder.level == 3)
        for _ in 0..<200 { shedder.observe(.zero) }
        #expect(shedder.level == 0)
    }

    @Test("criticality by its names, and CRITICAL for everything else")
    func criticality() {
        #expect(Criticality(name: "SHEDDABLE_PLUS") == .sheddablePlus)
        #expect(Criticality(name: "sheddable") == nil)
        #expect(Criticality.allCases.map(\.name).compactMap { Criticality(name: $0) } == Criticality.allCases)
        #expect(Criticality.sheddable < .sheddablePlus && Criticality.critical < .criticalPlus)
    }
}

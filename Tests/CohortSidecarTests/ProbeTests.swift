import CohortAPI
import RPC
import SwiftProtobuf
import Testing

@testable import cohort_sidecar

@Suite("Probes")
struct ProbeTests {
    private let start = ContinuousClock.now
    private let probes = Probes(stall: .seconds(30), stale: .seconds(5))

    private func answer(
        _ state: ServerState = .serving,
        isServing: Bool = true,
        run: Int64 = 1,
        _ more: (inout GetStatusResponse) -> Void = { _ in }
    ) -> ServerView.Answer {
        var status = GetStatusResponse.with {
            $0.state = state
            $0.startedAt.seconds = run
        }
        more(&status)
        return ServerView.Answer(status: status, isServing: isServing)
    }

    private func problem(_ code: RPCError.Code, _ detail: String = "secret") -> ServerView.Problem {
        ServerView.Problem(code: code, detail: detail)
    }

    @Test(
        "Whatever went wrong, a probe says it in its own words; each kind is worth the log once until the next answer"
    )
    func problems() {
        var view = ServerView(since: start)
        for code in RPCError.Code.all {
            let isNew = [view.failed(problem(code)), view.failed(problem(code))]
            #expect(isNew == [true, false])
            for probe in [probes.live, probes.ready, probes.started] {
                let reasons = probe(view, start + .seconds(60)).reasons.joined()
                #expect(!reasons.isEmpty && !reasons.contains("secret"))
            }
            #expect(view.problem?.detail == "secret")
        }
        let polls = view.polls
        view.answered(answer(), at: start)
        let isNew = view.failed(problem(.unavailable))
        #expect(isNew && view.polls == polls + 2)
    }

    @Test("Before the server has ever answered it is alive for a while, and neither started nor ready")
    func never() {
        var view = ServerView(since: start)
        #expect(probes.live(view, at: start + .seconds(30)).ok)
        #expect(!probes.live(view, at: start + .seconds(31)).ok)
        _ = view.failed(problem(.unavailable, "cannot connect to 10.0.0.7:7443"))
        #expect(!probes.started(view, at: start + .seconds(1)).ok)
        let ready = probes.ready(view, at: start + .seconds(2))
        #expect(
            ready.reasons == ["the server has not answered since the sidecar started, 2 s ago: it cannot be reached"]
        )
    }

    @Test("While the index loads the server is alive, and not ready; once it serves it is all three")
    func starting() {
        var view = ServerView(since: start)
        view.answered(answer(.starting, isServing: false), at: start)
        #expect(probes.live(view, at: start).ok)
        #expect(probes.ready(view, at: start).reasons == ["the server is loading its index"])
        #expect(probes.started(view, at: start).reasons == ["the server is loading its index"])
        view.answered(answer(), at: start + .seconds(1))
        for probe in [probes.live, probes.ready, probes.started] { #expect(probe(view, start + .seconds(1)).ok) }
    }

    @Test("A server that drains or is degraded is not ready, says why, and has been started all the same")
    func draining() {
        var view = ServerView(since: start)
        view.answered(answer(), at: start)
        view.answered(answer(.draining, isServing: false), at: start)
        #expect(probes.ready(view, at: start).reasons == ["the server is draining"])
        #expect(probes.started(view, at: start).ok && probes.live(view, at: start).ok)
        // Its own words may name files: they are for the log and the dashboard.
        view.answered(answer(.degraded, isServing: false) { $0.stateDetail = "/data/log.db: disk full" }, at: start)
        #expect(probes.ready(view, at: start).reasons == ["the server is degraded"])
    }

    @Test("An open breaker before the store takes the traffic away, and nothing else")
    func breaker() {
        var view = ServerView(since: start)
        view.answered(
            answer {
                $0.breakers = [
                    .with {
                        $0.name = "store_writes"; $0.state = .open
                    }, .with { $0.state = .closed },
                ]
            },
            at: start
        )
        #expect(probes.ready(view, at: start).reasons == ["the circuit breaker store_writes is open"])
        #expect(probes.live(view, at: start).ok && probes.started(view, at: start).ok)
    }

    @Test("Silence first takes the traffic away, then the life; an answer gives both back")
    func silence() {
        var view = ServerView(since: start)
        view.answered(answer(), at: start)
        _ = view.failed(problem(.deadlineExceeded, "no answer"))
        #expect(probes.ready(view, at: start + .seconds(5)).ok)
        #expect(
            probes.ready(view, at: start + .seconds(6)).reasons
                == ["the server has not answered for 6 s: it gave no answer in time"]
        )
        #expect(probes.live(view, at: start + .seconds(30)).ok)
        #expect(!probes.live(view, at: start + .seconds(31)).ok)
        view.answered(answer(), at: start + .seconds(40))
        #expect(probes.live(view, at: start + .seconds(40)).ok && probes.ready(view, at: start + .seconds(40)).ok)
    }

    @Test("Another run of the server has to become ready by itself")
    func restart() {
        var view = ServerView(since: start)
        view.answered(answer(run: 1), at: start)
        view.answered(answer(.starting, isServing: false, run: 2), at: start)
        #expect(!probes.started(view, at: start).ok)
        view.answered(answer(run: 2), at: start)
        #expect(probes.started(view, at: start).ok)
    }
}

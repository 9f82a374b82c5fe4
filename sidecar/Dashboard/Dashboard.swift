import CohortAPI
import Foundation
import Hummingbird
import Metrics
import NIOCore
import RPC
import ServiceLifecycle
import Synchronization
import Telemetry

/// The dashboard at `/`: takes a sample of the server at a steady pace, also while nobody looks, so that a page that opens
/// shows what was before it.
final class Dashboard: Service {
    private let settings: SidecarSettings
    private let link: ServerLink
    private let history: Mutex<DashboardHistory>
    private let page = DashboardPage()
    private let answers = PageCache<Int, Version>()
    private let instance = String(UInt64.random(in: .min ... .max), radix: 16)
    private let size = Gauge(label: "sidecar.dashboard.samples")

    /// What an answer depends on.
    private struct Version: Equatable {
        var samples: Int
        var polls: Int
    }

    init(_ settings: SidecarSettings, link: ServerLink) {
        self.settings = settings
        self.link = link
        history = Mutex(DashboardHistory(length: settings.dashboardHistory, interval: settings.dashboardInterval))
    }

    func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            var next = ContinuousClock.now
            while !Task.isCancelled {
                await sample()
                next = max(next + settings.dashboardInterval, .now)
                try? await Task.sleep(until: next)
            }
        }
    }

    private func sample() async {
        var reading = await link.metrics().map { DashboardReading($0) }
        if let status = link.known.last?.answer.status { reading?.take(status.overload) }
        guard !Task.isCancelled else { return }
        let count = history.withLock { history in
            history.take(reading, at: Self.milliseconds)
            return history.samples.count
        }
        size.record(count)
    }

    func addRoutes(to router: Hummingbird.Router<BasicRequestContext>) {
        router.get("/") { [page] _, _ in
            var headers: HTTPFields = [.contentType: "text/html; charset=utf-8", .cacheControl: "no-cache"]
            headers[.contentSecurityPolicy] = page.policy
            return Self.response(ByteBuffer(string: page.document), headers)
        }
        router.get("dashboard/data") { [self] request, _ in
            let query = request.uri.queryParameters
            // Numbers of another run mean nothing here.
            let since = query["instance"].map(String.init) == instance ? query["since"].flatMap { Int($0) } : nil
            let body = try await answer(since: since ?? 0)
            return Self.response(body, [.contentType: "application/json", .cacheControl: "no-store"])
        }
    }

    private static func response(_ body: ByteBuffer, _ headers: HTTPFields) -> Response {
        var headers = headers
        headers[.xContentTypeOptions] = "nosniff"
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: body))
    }

    private func answer(since: Int) async throws -> ByteBuffer {
        let (view, history) = (link.known, history.withLock { $0 })
        let base = history.base(since)
        return try await answers.page(base, of: Version(samples: history.newest, polls: view.polls)) { [self] in
            let answer = DashboardAnswer(
                instance: instance,
                next: history.newest,
                interval: settings.dashboardInterval / .seconds(1),
                history: settings.dashboardHistory / .seconds(1),
                time: Self.milliseconds,
                sidecar: CohortRelease.version,
                endpoint: settings.client.endpoints.first.map { "\($0)" } ?? "",
                up: view.isUp,
                silent: view.silence(at: .now) / .seconds(1),
                problem: view.problem?.detail,
                bounds: history.bounds,
                samples: Array(history.samples(after: base)),
                server: view.last.map { DashboardServer($0.answer.status) }
            )
            return ByteBuffer(bytes: try JSONEncoder().encode(answer))
        }
    }

    private static var milliseconds: Int64 { Int64(WallClock.now() / 1_000_000) }
}

import Foundation
import Hummingbird
import Logging
import Metrics
import NIOCore
import OTLP
import RPC
import Telemetry

/// The sidecar's HTTP side: `/metrics`, `/livez`, `/readyz`, `/startupz`, and the dashboard at `/`. Everything is GET, and no body is read.
///
/// ``HTTPProtection`` says who may ask, and how much.
struct HTTPServer {
    private let settings: SidecarSettings
    private let link: ServerLink
    private let dashboard: Dashboard
    private let own: @Sendable () -> OTLPMetricsData
    private let pages = PageCache<PrometheusText.Format, ContinuousClock.Instant>()
    private let renderTime = Metrics.Timer(label: "sidecar.render.duration")
    private let logger: Logger

    /// - Parameter own: The sidecar's own metrics as they are now, served beside the server's.
    init(
        _ settings: SidecarSettings,
        link: ServerLink,
        dashboard: Dashboard,
        own: @escaping @Sendable () -> OTLPMetricsData,
        logger: Logger
    ) {
        self.settings = settings
        self.link = link
        self.dashboard = dashboard
        self.own = own
        self.logger = logger
    }

    /// The service; it says where it listens once it does.
    func application() throws -> some ApplicationProtocol {
        let router = Hummingbird.Router()
        router.add(middleware: CountingMiddleware())
        if let token = settings.http.token {
            router.add(middleware: TokenMiddleware(token: token, open: Set(probes.map { "/" + $0.0 } + ["/"])))
        } else if HTTPProtection.isLoopback(settings.listen.host) {
            router.add(middleware: LocalNameMiddleware())
        }
        router.get("metrics") { request, _ in try await metrics(request) }
        dashboard.addRoutes(to: router)
        for (path, probe) in probes {
            router.get(RouterPath(path)) { _, _ in Self.answer(probe(link.known, .now)) }
        }
        return Application(
            router: router,
            server: try settings.http.server(),
            configuration: ApplicationConfiguration(
                address: .hostname(settings.listen.host, port: settings.listen.port),
                serverName: nil,
                availableConnectionsDelegate: .maximum(settings.connections, logger: logger)
            ),
            onServerRunning: { [logger] channel in
                let address = channel.localAddress.map {
                    "\(Endpoint(host: $0.ipAddress ?? "", port: $0.port ?? 0))"
                }
                logger.info("listening", metadata: ["address": "\(address ?? "")"])
            },
            logger: logger
        )
    }

    private var probes: [(String, @Sendable (ServerView, ContinuousClock.Instant) -> ProbeAnswer)] {
        let probes = settings.probes
        return [
            ("livez", { probes.live($0, at: $1) }), ("readyz", { probes.ready($0, at: $1) }),
            ("startupz", { probes.started($0, at: $1) }),
        ]
    }

    private func metrics(_ request: Request) async throws -> Response {
        let format = PrometheusText.Format(accept: request.headers[.accept])
        let reading = await link.reading()
        let page = try await pages.page(format, of: reading.at) {
            let own = own()
            let begin = ContinuousClock.now
            // The server's first: it names the target.
            let page = ByteBuffer(string: PrometheusText.render([reading.data, own].compactMap { $0 }, as: format))
            renderTime.recordNanoseconds(Int64(begin.duration(to: .now) / .nanoseconds(1)))
            return page
        }
        return Response(
            status: .ok,
            headers: [.contentType: format.contentType, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: page)
        )
    }

    private static func answer(_ probe: ProbeAnswer) -> Response {
        let body = (try? JSONEncoder().encode(probe)) ?? Data()
        return Response(
            status: probe.ok ? .ok : .serviceUnavailable,
            headers: [.contentType: "application/json", .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: body))
        )
    }
}

/// Counts what was asked for, by path and status.
private struct CountingMiddleware<Context: RequestContext>: RouterMiddleware {
    @concurrent
    func handle(
        _ request: Request,
        context: Context,
        next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        do {
            let response = try await next(request, context)
            count(context, response.status.code)
            return response
        } catch {
            // What no route takes; its path is the caller's invention and names no series.
            count(context, (error as? any HTTPResponseError)?.status.code ?? 500)
            throw error
        }
    }

    private func count(_ context: Context, _ status: Int) {
        let dimensions = [("path", context.endpointPath ?? "_OTHER"), ("status", "\(status)")]
        Counter(label: "sidecar.http.requests", dimensions: dimensions).increment()
    }
}

package import CohortAPI
import Logging
package import OTLP
package import RPC
import SwiftProtobuf
import Telemetry

/// Metrics, spans and levels of the log.
extension OperationsService {
    private static let spansPerMessage = 512
    /// How long a reader that follows waits before it looks again.
    private static let pause = Duration.milliseconds(250)

    package func register(with router: inout Router) {
        registerMethods(with: &router)
        router.unaryRaw(OperationsServiceMethods.scrapeMetrics) { [telemetry] (_: ScrapeMetricsRequest, _) in
            telemetry.refresh()
            return telemetry.metrics.serialized()
        }
    }

    /// For callers in the process; others are sent the bytes as they are.
    package func scrapeMetrics(
        _ request: ScrapeMetricsRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> OTLPMetricsData {
        telemetry.refresh()
        return telemetry.metrics.snapshot()
    }

    package func streamSpans(
        _ request: StreamSpansRequest,
        _ responses: ResponseWriter<OTLPTracesData>,
        _ call: ServerCall
    ) async throws(RPCError) {
        let buffer = telemetry.tracer.buffer
        guard buffer.beginReading() else {
            throw RPCError(.failedPrecondition, "somebody reads the spans already, and each is handed out once")
                .withErrorInfo(reason: "SPANS_ARE_READ", domain: CohortRelease.errorDomain)
        }
        defer { buffer.endReading() }
        while true {
            let spans = buffer.take(Self.spansPerMessage)
            if !spans.isEmpty {
                try await responses.write(
                    SpanRecord.otlp(spans, resource: telemetry.resource, scope: "cohort")
                )
                continue
            }
            guard request.follow, !buffer.isClosed, !call.isCancelled else { return }
            do { try await Task.sleep(for: Self.pause) } catch { return }
        }
    }

    package func setLogLevel(
        _ request: SetLogLevelRequest,
        _ call: ServerCall
    ) async throws(RPCError) -> SetLogLevelResponse {
        let levels = telemetry.levels
        var level: Logger.Level?
        if !request.level.isEmpty {
            guard let given = Logger.Level(rawValue: request.level) else {
                let known = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
                let problem = "there is no such level; it takes one of \(known)"
                throw RPCError(.invalidArgument, "level: \(problem)").withBadRequest(
                    field: "level",
                    description: problem
                )
            }
            level = given
        }
        if request.logger.isEmpty {
            if let level { levels.set(level) }
        } else {
            do throws(LogLevels.UnknownLogger) {
                try levels.set(level, of: request.logger)
            } catch {
                let problem = "there is no such logger; there are \(error.known.joined(separator: ", "))"
                throw RPCError(.notFound, "logger: \(problem)").withErrorInfo(
                    reason: "NOT_FOUND",
                    domain: CohortRelease.errorDomain,
                    metadata: ["resource_type": "logger"]
                )
            }
        }
        let all = levels.all
        return .with {
            $0.levels = ([("", all.base)] + all.own).map { entry in
                .with {
                    $0.logger = entry.0
                    $0.level = entry.1.rawValue
                }
            }
        }
    }
}

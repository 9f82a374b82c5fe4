import Synchronization

/// The telemetry of a process, for those who read it and turn it.
package final class TelemetrySystem: Sendable {
    package let metrics: MetricsRegistry
    package let tracer: SpanTracer
    package let levels: LogLevels
    /// What names the process, as `service.name`.
    package let resource: [(String, String)]
    private let refreshes = Mutex<[@Sendable () -> Void]>([])

    package init(metrics: MetricsRegistry, tracer: SpanTracer, levels: LogLevels, resource: [(String, String)]) {
        self.metrics = metrics
        self.tracer = tracer
        self.levels = levels
        self.resource = resource
    }

    /// Has this done before metrics are read: it brings figures up to date that nobody tells of by themselves.
    package func beforeReading(_ refresh: @escaping @Sendable () -> Void) { refreshes.withLock { $0.append(refresh) } }

    package func refresh() { for refresh in refreshes.withLock({ $0 }) { refresh() } }
}

import ServiceSettings
import Telemetry

/// What metrics, traces and the log are told.
struct TelemetrySettings: Sendable {
    /// Whether calls are measured, traced and logged.
    let watchesCalls: Bool
    /// nil for stderr.
    let file: LogFile.Settings?
    let access: AccessLogPolicy
    /// Part of the traces begun here that is sampled.
    let tracingRatio: Double
    let spans: Int
    let series: Int
    /// That wait to be written.
    let logLines: Int

    /// - Throws: ``SettingsError``.
    init(_ reader: SettingsReader) throws {
        watchesCalls = try reader.word("telemetry.calls") != "off"
        let bytes = try reader.whole("log.file.bytes")
        let count = try reader.whole("log.file.count")
        file = try reader.text("log.file.path").map { LogFile.Settings(path: $0, bytes: bytes, count: count) }
        let slow = try reader.seconds("log.access.slow.seconds")
        access = AccessLogPolicy(
            slow: slow.components.seconds * 1_000_000_000 + slow.components.attoseconds / 1_000_000_000,
            ratio: try reader.ratio("log.access.ratio"),
            failuresPerSecond: try reader.whole("log.access.failures")
        )
        tracingRatio = try reader.ratio("tracing.ratio")
        spans = try reader.whole("limits.tracing.spans")
        series = try reader.whole("limits.metrics.series")
        logLines = try reader.whole("limits.log.lines")
    }
}

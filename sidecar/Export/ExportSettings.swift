import Foundation
import RPC
import ServiceSettings

/// Where metrics and spans are sent.
struct OTLPSettings: Sendable {
    /// Without a path of a signal, and without a slash at the end.
    let endpoint: String
    let headers: OTLPHeaders?
    /// PEM file of authorities; nil for the system's.
    let ca: String?
    let isCompressed: Bool
    let kinds: [ExportKind]
    /// Time between two pushes of metrics.
    let interval: Duration
    let timeout: Duration
    /// Age after which a batch is not worth sending.
    let age: Duration
    /// Most spans that wait.
    let spans: Int
    /// Most bytes that wait, of metrics and of spans each.
    let bytes: Int

    /// Nil where there is no collector.
    init?(_ reader: SettingsReader) throws {
        guard let text = try reader.text("otlp.endpoint") else { return nil }
        guard let url = URLComponents(string: text), ["http", "https"].contains(url.scheme?.lowercased()),
            url.host?.isEmpty == false, url.query == nil, url.fragment == nil, url.user == nil
        else {
            throw SettingsError(
                "--otlp-endpoint takes the URL of a collector, as http://127.0.0.1:4318; /v1/traces and /v1/metrics are added"
            )
        }
        endpoint = text.hasSuffix("/") ? String(text.dropLast()) : text
        headers = try reader.text("otlp.headers.file").map { path in
            do { return try OTLPHeaders(path) } catch { throw SettingsError("--otlp-headers-file: \(error)") }
        }
        if headers != nil, url.scheme?.lowercased() == "http", !HTTPProtection.isLoopback(url.host ?? "") {
            throw SettingsError(
                "--otlp-headers-file: its headers would go to \(url.host ?? "") in plain text; use https"
            )
        }
        ca = try reader.text("otlp.ca")
        isCompressed = try reader.word("otlp.compression") != "none"
        switch try reader.word("otlp.signals") {
        case "metrics": kinds = [.metrics]
        case "traces": kinds = [.spans]
        default: kinds = [.metrics, .spans]
        }
        interval = try reader.seconds("otlp.metrics.seconds")
        timeout = try reader.seconds("otlp.timeout.seconds")
        age = try reader.seconds("otlp.age.seconds")
        spans = try reader.whole("limits.export.spans")
        bytes = try reader.whole("limits.export.bytes")
    }
}

/// Where lines for CloudWatch go.
struct EMFSettings: Sendable {
    /// Nil for standard output.
    let file: String?
    let fileBytes: Int
    let namespace: String
    let interval: Duration

    /// Nil where there are none.
    init?(_ reader: SettingsReader) throws {
        let output = try reader.word("emf.output") ?? "none"
        let file = try reader.text("emf.file")
        guard output != "none" else { return nil }
        guard output != "file" || file != nil else {
            throw SettingsError("--emf-output file needs --emf-file, its path")
        }
        self.file = output == "file" ? file : nil
        fileBytes = try reader.whole("limits.emf.bytes")
        let namespace = try reader.text("emf.namespace") ?? "Cohort"
        guard (1...255).contains(namespace.utf8.count), !namespace.hasPrefix("AWS/"),
            namespace.utf8.allSatisfy({ EMFText.isNamePart($0) })
        else {
            throw SettingsError(
                "--emf-namespace takes 1 to 255 of the letters, digits and ._-/#: that CloudWatch takes, not AWS/…"
            )
        }
        self.namespace = namespace
        interval = try reader.seconds("emf.seconds")
    }
}

extension Setting {
    static let export = [
        Setting(
            "otlp.endpoint",
            .text(default: nil),
            "URL of an OpenTelemetry collector, as http://127.0.0.1:4318; nothing is sent without it"
        ),
        Setting(
            "otlp.headers.file",
            .text(default: nil),
            "file with headers for the collector, a line `Name: value` each; read again when it changes"
        ),
        Setting(
            "otlp.ca",
            .text(default: nil),
            "PEM file: the authorities that sign the collector's certificate; the system's without it"
        ),
        Setting("otlp.compression", .word(["gzip", "none"], default: "gzip"), "how requests are compressed"),
        Setting("otlp.signals", .word(["both", "metrics", "traces"], default: "both"), "what is sent"),
        Setting("otlp.metrics.seconds", .seconds(1...3_600, default: 30), "time between two pushes of metrics"),
        Setting("otlp.timeout.seconds", .seconds(0.1...60, default: 10), "time for an answer of the collector"),
        Setting(
            "otlp.age.seconds",
            .seconds(1...3_600, default: 300),
            "age after which what the collector has not taken is dropped"
        ),
        Setting("emf.output", .word(["none", "stdout", "file"], default: "none"), "where lines for CloudWatch go"),
        Setting("emf.file", .text(default: nil), "the file, with `--emf-output file`"),
        Setting("emf.namespace", .text(default: "Cohort"), "CloudWatch's namespace of the metrics"),
        Setting("emf.seconds", .seconds(1...3_600, default: 60), "time between two sets of lines"),
        Setting(
            "limits.emf.bytes",
            .whole((1 << 20)...(1 << 30), default: 16 << 20),
            "size of the file for CloudWatch beyond which it is renamed to FILE.1 and another is begun"
        ),
        Setting("limits.export.spans", .whole(512...1_000_000, default: 16_384), "spans that wait for the collector"),
        Setting(
            "limits.export.bytes",
            .whole((1 << 16)...(1 << 30), default: 16 << 20),
            "bytes that wait for the collector, of metrics and of spans each"
        ),
        Setting(
            "shutdown.seconds",
            .seconds(0...60, default: 5),
            "time at the end for the collector to take what waits"
        ),
    ]
}

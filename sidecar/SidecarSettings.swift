import RPC
import ServiceSettings

/// What the sidecar is told.
struct SidecarSettings: Sendable {
    let client: ClientConfiguration
    let listen: Endpoint
    /// Time between two questions about how the server is.
    let poll: Duration
    /// Longest time for an answer of the server.
    let timeout: Duration
    /// Age up to which metrics serve another scrape.
    let scrapeAge: Duration
    /// Connections of scrapers and probes at once.
    let connections: Int
    let probes: Probes
    /// Time between two samples for the dashboard.
    let dashboardInterval: Duration
    /// Time that the dashboard looks back.
    let dashboardHistory: Duration
    let logLevel: String
    let http: HTTPProtection
    let otlp: OTLPSettings?
    let emf: EMFSettings?
    /// Time at the end for a collector to take what waits.
    let drain: Duration

    /// - Throws: ``SettingsError`` naming the setting and what would be right.
    init(_ reader: SettingsReader) throws {
        guard let text = try reader.text("endpoint"), let endpoint = Endpoint(text) else {
            throw SettingsError("--endpoint takes HOST:PORT")
        }
        guard let text = try reader.text("listen"), let listen = Endpoint(text) else {
            throw SettingsError("--listen takes HOST:PORT")
        }
        let (cert, key) = (try reader.text("cert"), try reader.text("key"))
        guard (cert == nil) == (key == nil) else {
            throw SettingsError(cert == nil ? "--key needs --cert, its certificate" : "--cert needs --key, its key")
        }
        var client = ClientConfiguration(
            endpoints: [endpoint],
            tls: ClientTLS(
                trustRootsPath: try reader.text("ca"),
                certificateChainPath: cert,
                privateKeyPath: key
            )
        )
        timeout = try reader.seconds("timeout.seconds")
        client.connectTimeout = timeout
        client.backoff.maximum = .seconds(2)
        if let path = try reader.text("token.file") {
            do { client.token = try BearerToken(file: path) } catch { throw SettingsError("--token-file: \(error)") }
        }
        self.client = client
        self.listen = listen
        poll = try reader.seconds("poll.seconds")
        scrapeAge = try reader.seconds("scrape.age.seconds")
        connections = try reader.whole("limits.connections")
        probes = Probes(
            stall: try reader.seconds("probes.stall.seconds"),
            stale: try reader.seconds("probes.stale.seconds")
        )
        guard probes.stale > poll, probes.stall > poll + timeout else {
            throw SettingsError(
                "--probes-stale-seconds takes more than --poll-seconds, and --probes-stall-seconds more than that and "
                    + "--timeout-seconds together: else a server that answers is taken for one that does not"
            )
        }
        dashboardInterval = try reader.seconds("dashboard.seconds")
        dashboardHistory = try reader.seconds("dashboard.history.seconds")
        guard dashboardHistory / dashboardInterval <= 3_600 else {
            throw SettingsError("--dashboard-history-seconds takes at most 3600 times --dashboard-seconds")
        }
        logLevel = try reader.word("log.level") ?? "info"
        http = try HTTPProtection(reader, listen: listen)
        otlp = try OTLPSettings(reader)
        emf = try EMFSettings(reader)
        drain = try reader.seconds("shutdown.seconds")
    }
}

extension SettingCatalogue {
    static let sidecar = SettingCatalogue(
        program: "cohort-sidecar",
        summary: "cohort-sidecar: metrics and probes of one cohort-server for the rest of the world.",
        usage: ["cohort-sidecar [--config FILE] [--SETTING VALUE]…", "cohort-sidecar --help | --version"],
        settings: [
            Setting("config", .text(default: nil), "YAML file with settings; flags and the environment go before it"),
            Setting("endpoint", .text(default: "127.0.0.1:7443"), "the server, HOST:PORT"),
            Setting(
                "ca",
                .text(default: nil),
                "PEM file: the authorities that sign the server's certificate; the system's without it"
            ),
            Setting("cert", .text(default: nil), "PEM file: the sidecar's certificate"),
            Setting("key", .text(default: nil), "PEM file: its private key"),
            Setting(
                "token.file",
                .text(default: nil),
                "file with the token that the sidecar shows; read again when it changes"
            ),
            Setting(
                "listen",
                .text(default: "127.0.0.1:9464"),
                "address to listen on for HTTP, HOST:PORT; port 0 lets the system choose"
            ),
            Setting(
                "log.level",
                .word(["trace", "debug", "info", "notice", "warning", "error", "critical"], default: "info"),
                "least severe level logged"
            ),
            Setting(
                "poll.seconds",
                .seconds(0.1...60, default: 1),
                "time between two questions about how the server is"
            ),
            Setting("timeout.seconds", .seconds(0.1...60, default: 2), "time for an answer of the server"),
            Setting(
                "scrape.age.seconds",
                .seconds(0...60, default: 0.25),
                "age up to which metrics serve another scrape"
            ),
            Setting(
                "probes.stale.seconds",
                .seconds(0.5...600, default: 5),
                "silence of the server after which it is not ready"
            ),
            Setting(
                "probes.stall.seconds",
                .seconds(1...3_600, default: 30),
                "silence of the server after which it is not alive"
            ),
            Setting(
                "dashboard.seconds",
                .seconds(0.5...60, default: 2),
                "time between two samples for the dashboard"
            ),
            Setting(
                "dashboard.history.seconds",
                .seconds(60...7_200, default: 900),
                "time that the dashboard looks back"
            ),
            Setting(
                "limits.connections",
                .whole(1...10_000, default: 100),
                "connections of scrapers and probes at once"
            ),
        ] + Setting.http + Setting.export,
        foreign: ["COHORT_TOKEN"]
    )
}

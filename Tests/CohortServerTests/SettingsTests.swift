import CohortCore
import CohortServices
import Foundation
import RPC
import ServiceSettings
import Testing

@testable import cohort_server

@Suite("Settings")
struct SettingsTests {
    private static func directory() -> URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../deploy/config").standardized
    }

    private func settings(_ arguments: [String] = [], _ environment: [String: String] = [:]) async throws
        -> ServerSettings
    {
        try ServerSettings(
            try await SettingsReader(.server, arguments: ["cohort-server"] + arguments, environment: environment)
        )
    }

    private func refusal(_ arguments: [String] = [], _ environment: [String: String] = [:]) async -> String {
        let error = await #expect(throws: SettingsError.self) { _ = try await settings(arguments, environment) }
        return error?.description ?? ""
    }

    @Test("The files in deploy/config load", arguments: ["development", "staging", "production"])
    func deployed(name: String) async throws {
        let path = Self.directory().appending(path: "\(name).yaml").path
        let settings = try await settings(["--config", path])
        #expect(settings.isDevelopment == (name == "development"))
        #expect(settings.tls.clientCertificates == (name == "development" ? .request : .require))
        #expect(settings.limits.maxConnections == (name == "staging" ? 2_000 : 10_000))
    }

    @Test("Flags go before the environment, that before the file, that before the default")
    func precedence() async throws {
        let path = NSTemporaryDirectory() + "settings-\(UUID().uuidString).yaml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try "dev: true\nlimits:\n  connections: 1\n  streams: 2\n  group:\n    rows: 3\n"
            .write(toFile: path, atomically: true, encoding: .utf8)
        let settings = try await settings(
            ["--config", path, "--limits-connections", "10"],
            ["COHORT_LIMITS_CONNECTIONS": "20", "COHORT_LIMITS_STREAMS": "30"]
        )
        #expect(settings.limits.maxConnections == 10)
        #expect(settings.limits.maxStreamsPerConnection == 30)
        #expect(settings.engine.groupRows == 3)
        #expect(settings.limits.maxFrameBytes == 4 << 20)
    }

    @Test("Without --dev a certificate is needed, and with it nothing but loopback is listened on")
    func safety() async throws {
        #expect(await refusal().contains("--tls-certificate"))
        #expect(await refusal(["--tls-certificate", "a", "--tls-key", "b"]).contains("--tls-ca"))
        #expect(await refusal(["--dev", "--listen", "0.0.0.0:7443"]).contains("loopback"))
        #expect(await refusal(["--dev", "--listen", "10.0.0.1:7443"]).contains("loopback"))
        #expect(await refusal(["--dev", "--listen", "127.evil.example.com:7443"]).contains("loopback"))
        #expect(await refusal(["--dev", "--tls-key", "x"]).contains("--dev"))
        #expect(try await settings(["--dev", "--listen", "127.0.0.2:0"]).listen.port == 0)
    }

    @Test("What cannot be used is named as it was written, with what would be right")
    func mistakes() async throws {
        #expect(await refusal(["--dev", "--limits-conections", "5"]).contains("--limits-conections"))
        #expect(await refusal(["--dev", "stray"]).contains("'stray'"))
        #expect(await refusal(["--dev", "--limits-connections", "0"]).contains("1 to 1000000"))
        #expect(await refusal(["--dev", "--limits-connections", "many"]).contains("--limits-connections"))
        #expect(await refusal(["--dev"], ["COHORT_LOG_LEVEL": "loud"]).contains("COHORT_LOG_LEVEL"))
        #expect(await refusal(["--dev"], ["COHORT_LISTN": "x"]).contains("COHORT_LISTN"))
        #expect(await refusal(["--dev", "--listen", "nowhere"]).contains("HOST:PORT"))
        #expect(await refusal(["--config", "/nowhere.yaml"]).contains("/nowhere.yaml"))
    }

    @Test("Ages take units, ages and bytes take forever, on the command line and in a file")
    func retention() async throws {
        let standard = try await settings(["--dev"]).engine
        #expect(standard.logRetentionAge == 7 * 86_400 && standard.logRetentionBytes == 10 << 30)
        #expect(standard.historyRetentionAge == 90 * 86_400 && standard.scrubDelay == 6 * 3_600)
        #expect(standard.driftPeriod == 86_400 && standard.driftRate == 500)
        let path = NSTemporaryDirectory() + "settings-\(UUID().uuidString).yaml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try """
        dev: true
        log:
          retention:
            age: 36h
            bytes: 2000000
        history:
          retention:
            age: 600
        drift:
          audit:
            age: forever
        """.write(toFile: path, atomically: true, encoding: .utf8)
        let file = try await settings(["--config", path]).engine
        #expect(file.logRetentionAge == 36 * 3_600 && file.logRetentionBytes == 2_000_000)
        #expect(file.historyRetentionAge == 600 && file.driftPeriod == nil)
        let flags = try await settings(
            ["--config", path, "--log-retention-age", "forever", "--log-retention-bytes", "0"],
            ["COHORT_ERASE_SCRUB_AGE": "90m", "COHORT_HISTORY_RETENTION_AGE": "0"]
        ).engine
        #expect(flags.logRetentionAge == nil && flags.logRetentionBytes == nil && flags.historyRetentionAge == nil)
        #expect(flags.scrubDelay == 5_400)
        for (flag, value) in [
            ("--log-retention-age", "1 week"), ("--log-retention-age", "5s"), ("--log-retention-age", "-1d"),
            ("--log-retention-age", "99999999999999999d"), ("--log-retention-bytes", "10GB"),
            ("--log-retention-bytes", "1"), ("--erase-scrub-age", "23h"), ("--erase-scrub-age", "forever"),
            ("--drift-audit-rate", "0"),
        ] {
            #expect(await refusal(["--dev", flag + "=" + value]).contains(flag), "\(flag) \(value)")
        }
    }

    @Test("Without --dev a policy is needed, and a way to show who one is; tokens need issuer and audience")
    func access() async throws {
        let tls = ["--tls-certificate", "a", "--tls-key", "b", "--audit-key-file", "k", "--tls-clients"]
        #expect(await refusal(tls + ["require", "--tls-ca", "c"]).contains("--auth-policy"))
        #expect(await refusal(tls + ["off", "--auth-policy", "p"]).contains("--auth-jwt-keys"))
        let keys = ["--auth-policy", "p", "--auth-jwt-keys", "j"]
        #expect(await refusal(tls + ["off"] + keys).contains("--auth-jwt-issuer"))
        #expect(await refusal(["--dev", "--auth-jwt-audience", "x"]).contains("--auth-jwt-keys"))
        let all = keys + ["--auth-jwt-issuer", "i", "--auth-jwt-audience", "a"]
        let secured = try await settings(
            tls + ["off"] + all + ["--auth-jwt-skew-seconds", "5", "--limits-auth-tokens", "7"]
        )
        #expect(
            secured.access.tokens
                == TokenRequirements(issuer: "i", audience: "a", clockSkew: 5, maximumBytes: 8_192)
        )
        let configuration = secured.access.authenticator
        #expect(configuration.anonymous == nil && configuration.everyone == nil && configuration.maximumTokens == 7)
        #expect(configuration.failures == GCRA.Limit(perSecond: 1, burst: 100))
        // With --dev nobody has to show anything; a policy judges those who do.
        let free = try await settings(["--dev"]).access.authenticator
        #expect(free.anonymous != nil && free.everyone != nil)
        let judged = try await settings(["--dev", "--auth-policy", "p"]).access.authenticator
        #expect(judged.anonymous != nil && judged.everyone == nil)
    }

    @Test("What a policy says is understood, or refused by name")
    func policy() throws {
        func refusal(_ text: String) -> String {
            let error = #expect(throws: PolicyFile.Invalid.self) { _ = try PolicyFile.parse(Data(text.utf8)) }
            return error?.description ?? ""
        }
        let policy = try PolicyFile.parse(
            Data(
                """
                grants:
                  - {certificate: "spiffe://a/*", roles: [reader], cohorts: [A, B]}
                  - {subject: ann, roles: [admin, writer]}
                  - {claim: {name: groups, value: sre}, roles: [operator]}
                """.utf8
            )
        )
        #expect(
            policy.rules == [
                .init(.certificate("spiffe://a/*"), roles: [.reader], resources: ["A", "B"]),
                .init(.subject("ann"), roles: [.admin, .writer]),
                .init(.claim(name: "groups", value: "sre"), roles: [.operator]),
            ]
        )
        #expect(try PolicyFile.parse(Data("grants: []".utf8)).rules.isEmpty)
        let cases = [
            ("", "'grants'"), ("grants: {}", "'grants'"), ("grants: []\nmore: 1", "'grants'"), ("grants: [", "YAML"),
            ("grants: [x]", "grants[0]"), ("grants: [{roles: [reader]}]", "one of certificate, subject and claim"),
            ("grants: [{subject: a, certificate: b, roles: [reader]}]", "one of certificate, subject and claim"),
            ("grants: [{subject: a}]", "grants[0].roles"), ("grants: [{subject: a, roles: [root]}]", "'root'"),
            ("grants: [{subject: a, role: [reader]}]", "'role'"),
            ("grants: [{subject: '*', roles: [reader]}]", "everybody"),
            ("grants: [{subject: 'a*b', roles: [reader]}]", "before its end"),
            ("grants: [{subject: a, roles: reader}]", "no list"),
            ("grants: [{subject: a, roles: [admin, reader], cohorts: [A]}]", "restricts the role reader"),
            ("grants: [{subject: a, roles: [reader], cohorts: []}]", "is empty"),
            ("grants: [{claim: groups, roles: [reader]}]", "{name: …, value: …}"),
        ]
        for (text, wanted) in cases { #expect(refusal(text).contains(wanted), "\(text): \(refusal(text))") }
    }

    @Test("Without --dev the audit needs a key, from a file or the environment; its limits reach the engine")
    func audit() async throws {
        let tls = [
            "--tls-certificate", "a", "--tls-key", "b", "--tls-clients", "require", "--tls-ca", "c", "--auth-policy",
            "p",
        ]
        let missing = await refusal(tls)
        #expect(missing.contains("--audit-key-file") && missing.contains("cohortctl audit key"))
        guard case .file(let file) = try await settings(tls + ["--audit-key-file", "/k"]).auditKeys else {
            Issue.record("no file")
            return
        }
        #expect(file.path == "/k" && !file.isDevelopment)
        guard case .environment("x") = try await settings(tls, ["COHORT_AUDIT_KEY": "x"]).auditKeys else {
            Issue.record("not from the environment")
            return
        }
        #expect(await refusal(tls + ["--audit-key-file", "/k"], ["COHORT_AUDIT_KEY": "x"]).contains("one of them"))
        #expect(throws: SettingsError.self) { try AuditKeySource.environment("x").load() }
        // A secret is no flag: everyone sees those.
        #expect(await refusal(tls + ["--audit-key", "x"]).contains("--audit-key"))
        guard case .file(let made) = try await settings(["--dev", "--data-dir", "/d"]).auditKeys else {
            Issue.record("no file")
            return
        }
        #expect(made.path == "/d/keys/audit.key" && made.isDevelopment)
        let standard = try await settings(["--dev"]).engine
        #expect(standard.auditRetentionAge == 400 * 86_400 && standard.maximumAuditRows == 10_000)
        #expect(standard.maximumAuditList == 100_000)
        let own = try await settings(
            ["--dev", "--audit-retention-age", "forever", "--limits-audit-rows", "200", "--limits-audit-list", "7"]
        ).engine
        #expect(own.auditRetentionAge == nil && own.maximumAuditRows == 200 && own.maximumAuditList == 7)
        #expect(await refusal(["--dev", "--limits-audit-rows", "1"]).contains("100 to 1000000"))
    }

    @Test("The limits of the past reach the engine")
    func past() async throws {
        let standard = try await settings(["--dev"]).engine
        #expect(standard.maximumHistoryIntervals == 10_000 && standard.maximumHistoryScans == 2)
        let own = try await settings(["--dev", "--limits-history-intervals", "7", "--limits-history-scans", "3"]).engine
        #expect(own.maximumHistoryIntervals == 7 && own.maximumHistoryScans == 3)
        #expect(await refusal(["--dev", "--limits-history-intervals", "10001"]).contains("1 to 10000"))
        #expect(await refusal(["--dev", "--limits-history-scans", "0"]).contains("1 to 64"))
    }

    @Test("A misspelt member of the file is refused")
    func misspeltMember() async throws {
        let path = NSTemporaryDirectory() + "settings-\(UUID().uuidString).yaml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try "dev: true\nlimits:\n  conections: 1\n".write(toFile: path, atomically: true, encoding: .utf8)
        #expect(await refusal(["--config", path]).contains("limits.conections"))
    }

    @Test("Every setting is in the operator's manual")
    func manual() throws {
        let path = Self.directory().appending(path: "../../docs/operations/running.md").standardized.path
        let manual = try String(contentsOfFile: path, encoding: .utf8)
        for setting in Setting.all {
            #expect(manual.contains("| `\(setting.flag)` |"), "\(setting.key) is missing")
        }
    }

    @Test("No setting is a member of another one: a file could not have both")
    func nesting() {
        for setting in Setting.all {
            #expect(!Setting.all.contains { $0.key.hasPrefix(setting.key + ".") }, "\(setting.key)")
        }
    }

    @Test("Every setting is in the help with its variable")
    func help() {
        for setting in Setting.all {
            #expect(
                SettingCatalogue.server.help.contains(setting.flag + " ")
                    || SettingCatalogue.server.help.contains(setting.flag + "\n")
            )
            #expect(SettingCatalogue.server.help.contains(setting.environmentVariable))
        }
    }
}

@Suite("Development certificates")
struct DevelopmentCertificatesTests {
    @Test("Made once, renewed a week before they expire, keys readable by the owner alone")
    func renewal() throws {
        let directory = NSTemporaryDirectory() + "certificates-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let files = DevelopmentCertificates(directory: directory)
        let now = Date()
        #expect(try files.ensure(now: now))
        #expect(try !files.ensure(now: now))
        #expect(try !files.ensure(now: now.addingTimeInterval(80 * 86_400)))
        #expect(try files.ensure(now: now.addingTimeInterval(84 * 86_400)))
        for key in [files.serverKey, files.clientKey] {
            let mode = try FileManager.default.attributesOfItem(atPath: key)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
    }
}

@Suite("Processors")
struct ProcessorsTests {
    @Test("the mask of the processors that the process is pinned to")
    func mask() {
        #expect(Processors.allowed(inStatus: "Name:\tx\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n") == 2)
        #expect(Processors.allowed(inStatus: "Cpus_allowed:\tff,00000001\n") == 9)
        #expect(Processors.allowed(inStatus: "Cpus_allowed:\t0\n") == nil)
        #expect(Processors.allowed(inStatus: "Name:\tx\n") == nil)
        #expect(Processors.available >= 1)
    }
}

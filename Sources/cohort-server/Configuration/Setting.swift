import ServiceSettings

extension SettingCatalogue {
    /// The settings of the server.
    static let server = SettingCatalogue(
        program: "cohort-server",
        summary: "cohort-server: sorts customers into cohorts by rules and answers who is in them.",
        usage: ["cohort-server [--dev] [--config FILE] [--SETTING VALUE]…", "cohort-server --help | --version"],
        settings: Setting.all,
        secrets: ["COHORT_AUDIT_KEY"],
        foreign: [
            "COHORT_ENDPOINT", "COHORT_CA", "COHORT_CERT", "COHORT_KEY", "COHORT_TOKEN", "COHORT_TOKEN_FILE",
            "COHORT_LONG",
        ]
    )
}

extension Setting {
    /// All of them, in the order of `--help`.
    static let all: [Setting] =
        [
            Setting("config", .text(default: nil), "YAML file with settings; flags and the environment go before it"),
            Setting("dev", .flag, "development: makes certificates, trusts everyone, listens on loopback only"),
            Setting(
                "listen",
                .text(default: "127.0.0.1:7443"),
                "address to listen on, HOST:PORT; port 0 lets the system choose"
            ),
            Setting("data.dir", .text(default: "./cohort-data"), "directory of the store"),
            Setting(
                "tls.certificate",
                .text(default: nil),
                "PEM file: the server's certificate, then the intermediates"
            ),
            Setting("tls.key", .text(default: nil), "PEM file: the certificate's private key"),
            Setting(
                "tls.ca",
                .text(default: nil),
                "PEM file: the authorities that client certificates are verified against"
            ),
            Setting(
                "tls.clients",
                .word(["off", "request", "require"], default: "require"),
                "client certificates; request in development"
            ),
            Setting(
                "auth.policy",
                .text(default: nil),
                "YAML file: which certificates and tokens have which roles; needed without --dev"
            ),
            Setting(
                "auth.jwt.keys",
                .text(default: nil),
                "JSON file: the public keys (JWKS) that tokens are verified with; without it no token is taken"
            ),
            Setting("auth.jwt.issuer", .text(default: nil), "what the 'iss' of a token must be"),
            Setting("auth.jwt.audience", .text(default: nil), "what the 'aud' of a token must be or hold"),
            Setting(
                "auth.jwt.skew.seconds",
                .seconds(0...300, default: 30),
                "how far the clocks of the tokens' issuer and the server may be apart"
            ),
            Setting(
                "audit.key.file",
                .text(default: nil),
                "file with the keys of the audit chain, one a line, the last is the current one; COHORT_AUDIT_KEY has the keys "
                    + "themselves instead; made in development"
            ),
            Setting(
                "log.level",
                .word(["trace", "debug", "info", "notice", "warning", "error", "critical"], default: "info"),
                "least severe level logged"
            ),
            Setting("log.file.path", .text(default: nil), "file that the log is written to; stderr without it"),
            Setting(
                "log.file.bytes",
                .whole(65_536...1_099_511_627_776, default: 104_857_600),
                "size of the file of the log beyond which another is begun"
            ),
            Setting(
                "log.file.count",
                .whole(1...1_000, default: 10),
                "files of the log that are kept beside the current one"
            ),
            Setting(
                "log.access.slow.seconds",
                .seconds(0...3_600, default: 1),
                "time beyond which a call is slow, and logged"
            ),
            Setting(
                "log.access.ratio",
                .ratio(default: 0),
                "part of the calls that neither fail nor are slow which is logged"
            ),
            Setting(
                "log.access.failures",
                .whole(1...1_000_000, default: 100),
                "lines in a second about calls that failed by their callers' doing; those of the server's are all logged"
            ),
            Setting(
                "telemetry.calls",
                .word(["on", "off"], default: "on"),
                "whether calls are measured, traced and logged"
            ),
            Setting("tracing.ratio", .ratio(default: 0.01), "part of the traces begun here that is sampled"),
            Setting("limits.tracing.spans", .whole(16...1_000_000, default: 8_192), "spans that wait for a reader"),
            Setting(
                "limits.log.lines",
                .whole(16...1_000_000, default: 16_384),
                "lines of the log that wait to be written"
            ),
            Setting("limits.metrics.series", .whole(100...100_000, default: 2_000), "series of one metric"),
            Setting(
                "threads",
                .whole(0...256, default: 0),
                "event loops that serve connections; 0 takes one for each processor that the process may run on"
            ),
            Setting("drain.seconds", .seconds(0...3_600, default: 20), "time for running calls to finish at shutdown"),
            Setting(
                "limits.auth.tokens",
                .whole(0...10_000_000, default: 10_000),
                "verified tokens that are remembered"
            ),
            Setting("limits.auth.token.bytes", .whole(256...65_536, default: 8_192), "longest token"),
            Setting(
                "limits.auth.failures.minute",
                .whole(1...1_000_000, default: 60),
                "failed authentications of one address in a minute; its unknown tokens are then refused unseen"
            ),
            Setting(
                "limits.auth.failures.burst",
                .whole(1...1_000_000, default: 100),
                "failed authentications of one address at once"
            ),
            Setting(
                "limits.auth.addresses",
                .whole(1...10_000_000, default: 10_000),
                "addresses whose failures are counted apart; those beyond share one budget"
            ),
            Setting(
                "limits.auth.principals",
                .whole(1...10_000_000, default: 10_000),
                "principals that 'access list' tells of"
            ),
            Setting("limits.connections", .whole(1...1_000_000, default: 10_000), "connections at once"),
            Setting(
                "limits.streams",
                .whole(1...1_000_000, default: 1_024),
                "calls that run in a task, on one connection"
            ),
            Setting("limits.frame.bytes", .whole(1_024...4_194_304, default: 4_194_304), "largest message of a peer"),
            Setting("limits.metadata.bytes", .whole(256...1_048_576, default: 16_384), "largest metadata of a call"),
            Setting(
                "limits.request.bytes",
                .whole(65_536...1_073_741_824, default: 8_388_608),
                "bytes of requests held for one connection"
            ),
            Setting(
                "limits.response.bytes",
                .whole(16_384...1_073_741_824, default: 262_144),
                "bytes waiting for one connection before streams pause"
            ),
            Setting(
                "limits.window.bytes",
                .whole(262_144...1_073_741_824, default: 262_144),
                "bytes of a request stream that its client may send ahead, with ttrpc-x1"
            ),
            Setting("limits.handshake.seconds", .seconds(0.1...600, default: 10), "time for the TLS handshake"),
            Setting(
                "limits.frame.seconds",
                .seconds(0.1...600, default: 30),
                "time from a message's first byte to its last"
            ),
            Setting(
                "limits.idle.seconds",
                .seconds(1...86_400, default: 900),
                "time without a call before a connection is closed"
            ),
            Setting(
                "limits.unwritable.seconds",
                .seconds(0.1...600, default: 30),
                "time a peer may read nothing of what waits for it"
            ),
            Setting(
                "limits.queue.rows",
                .whole(1_000...10_000_000, default: 65_536),
                "writes waiting for the committer"
            ),
            Setting("limits.group.rows", .whole(1...10_000, default: 2_000), "writes committed together"),
            Setting(
                "limits.batch.rows",
                .whole(1...10_000, default: 1_000),
                "rows in one batch of puts, and in one message of an import"
            ),
            Setting(
                "limits.change.ids",
                .whole(1...100_000, default: 10_000),
                "customer ids in one change of overrides or of a list, and in one message of an upload"
            ),
            Setting(
                "limits.upload.ids",
                .whole(1...1_000_000_000, default: 10_000_000),
                "customer ids in one upload of overrides or of a list"
            ),
            Setting("limits.uploads", .whole(1...1_000, default: 8), "such uploads at once"),
            Setting("limits.upload.seconds", .seconds(1...86_400, default: 600), "time that such an upload may take"),
            Setting("limits.watches", .whole(1...10_000, default: 100), "watches of memberships at once"),
            Setting(
                "limits.watch.snapshots",
                .whole(1...1_000, default: 8),
                "watches that are being sent a snapshot, for which bitmaps are copied"
            ),
            Setting("limits.attributes", .whole(2...4_096, default: 1_024), "attributes that can be declared"),
            Setting(
                "limits.cohorts",
                .whole(1...10_000, default: 1_000),
                "cohorts that can be created, archived ones included"
            ),
            Setting(
                "limits.cohort.depth",
                .whole(0...64, default: 8),
                "references that follow each other where rules read other cohorts; 0 allows none"
            ),
            Setting("limits.versions", .whole(1...100_000, default: 10_000), "versions of one cohort, over its life"),
            Setting("limits.drafts", .whole(1...10_000, default: 100), "drafts of one cohort"),
            Setting(
                "limits.approvals.pending",
                .whole(1...10_000, default: 1_000),
                "changes of all cohorts that wait for approval"
            ),
            Setting("limits.erasures", .whole(1...16, default: 1), "erasures of the members of a cohort at once"),
            Setting(
                "limits.erasure.rows",
                .whole(1...10_000, default: 500),
                "members that such an erasure erases in one step; other writes go between two"
            ),
            Setting(
                "limits.builds",
                .whole(1...1_000, default: 64),
                "changes of rules and previews that wait or run, one after the other"
            ),
            Setting(
                "limits.build.held",
                .whole(0...100_000, default: 4_000),
                "customers evaluated for a new rule while writes wait; the others are evaluated beside the writes"
            ),
            Setting(
                "limits.expression.bytes",
                .whole(1...65_536, default: 4_096),
                "bytes of an expression over cohorts"
            ),
            Setting(
                "limits.expression.cohorts",
                .whole(1...1_000, default: 64),
                "different cohorts in an expression, whose bitmaps are copied"
            ),
            Setting(
                "limits.expression.nesting",
                .whole(1...256, default: 64),
                "nesting of parentheses and 'not' in an expression over cohorts"
            ),
            Setting(
                "limits.history.intervals",
                .whole(1...10_000, default: 10_000),
                "intervals in one answer about a customer's history"
            ),
            Setting(
                "limits.history.scans",
                .whole(1...64, default: 2),
                "scans for the members of a cohort in the past at once"
            ),
            Setting(
                "limits.pending.bytes",
                .whole(1_048_576...8_589_934_592, default: 134_217_728),
                "records waiting for the store's tables"
            ),
            Setting("limits.string.bytes", .whole(1...65_536, default: 4_096), "bytes of one text of an attribute"),
            Setting("limits.list.elements", .whole(1...65_536, default: 256), "elements of a list of texts"),
            Setting("limits.customer.attributes", .whole(1...4_096, default: 256), "attributes that one customer has"),
            Setting(
                "limits.record.bytes",
                .whole(1_024...1_048_576, default: 65_536),
                "all attributes of one customer"
            ),
            Setting(
                "limits.lead.seconds",
                .seconds(0...86_400, default: 300),
                "time that an event may be ahead of the server's clock"
            ),
            Setting("limits.wait.seconds", .seconds(0...60, default: 1), "time that a read waits for its sequence"),
            Setting(
                "log.retention.age",
                .age(60...3_153_600_000, default: "7d"),
                "time that entries stay in the change log"
            ),
            Setting(
                "log.retention.bytes",
                .bytes(1_048_576...1_125_899_906_842_624, default: 10_737_418_240),
                "bytes of entries in the change log beyond which the oldest go"
            ),
            Setting(
                "history.retention.age",
                .age(60...3_153_600_000, default: "90d"),
                "time that memberships that are over stay in the history"
            ),
            Setting(
                "audit.retention.age",
                .age(60...3_153_600_000, default: "400d"),
                "time that rows of the audit stay; those of data changes go with the change log"
            ),
            Setting(
                "limits.audit.rows",
                .whole(100...1_000_000, default: 10_000),
                "rows of the audit that wait for the store before others are lost and counted"
            ),
            Setting(
                "limits.audit.list",
                .whole(1...1_000_000, default: 100_000),
                "rows in one answer about the audit"
            ),
            Setting(
                "erase.scrub.age",
                .age(1...79_200, default: "6h"),
                "time that an erased customer waits for log and history to be scrubbed; at most 22h"
            ),
            Setting(
                "approvals.expire.age",
                .age(60...31_536_000, default: "7d"),
                "time in which a change that needs approval has to be decided; forever for any time"
            ),
            Setting(
                "drift.audit.age",
                .age(60...31_536_000, default: "1d"),
                "time in which all memberships are derived anew and compared; forever for never"
            ),
            Setting(
                "drift.audit.rate",
                .whole(1...1_000_000, default: 500),
                "customers that this checks in a second at least"
            ),
        ] + resilience
}

import Telemetry

/// What each metric of the server tells, and in which unit. docs/operations/metrics.md says more of each.
enum MetricCatalogue {
    static let all: [MetricDescription] = calls + process + engine + store + upkeep + telemetry

    private static let calls = [
        MetricDescription("rpc.server.call.duration", "s", "calls, from the reading of the request to the end"),
        MetricDescription("rpc.server.connections.accepted", "{connection}", "connections accepted"),
        MetricDescription("rpc.server.connections.open", "{connection}", "connections open"),
        MetricDescription("rpc.server.connections.limit", "{connection}", "the most that may be"),
        MetricDescription("rpc.server.connections.extended", "{connection}", "connections that speak ttrpc-x1"),
        MetricDescription("rpc.server.connections.closed", "{connection}", "connections closed, by reason"),
        MetricDescription("rpc.server.calls.started", "{call}", "calls begun"),
        MetricDescription("rpc.server.calls.running", "{call}", "calls that run in a task"),
        MetricDescription("rpc.server.calls.refused_draining", "{call}", "calls refused because the server stops"),
        MetricDescription("rpc.server.frames.invalid", "{frame}", "frames answered INVALID_ARGUMENT"),
        MetricDescription("rpc.server.certificate.reloads", "{reload}", "reloads of the certificate, by outcome"),
        MetricDescription(
            "rpc.server.certificate.not_after",
            "s",
            "when the first of the certificates expires, since 1970, by certificate"
        ),
        MetricDescription("rpc.server.limit.reached", "{event}", "a peer was held back or turned away, by limit"),
        MetricDescription("rpc.server.overload.admitted", "{call}", "calls let in by the limits on concurrency"),
        MetricDescription("rpc.server.overload.waited", "{call}", "calls that had to wait for them"),
        MetricDescription(
            "rpc.server.overload.rejected",
            "{call}",
            "calls refused by the limits against overload, by reason"
        ),
        MetricDescription("rpc.server.overload.limit", "{call}", "calls that may run at once, by class"),
        MetricDescription("rpc.server.overload.in_flight", "{call}", "calls of these that run, by class"),
        MetricDescription("rpc.server.overload.queue", "{call}", "calls of these that wait, by class"),
        MetricDescription(
            "rpc.server.overload.level",
            "1",
            "how much of the calls answered from memory is shed, 0 to 3"
        ),
        MetricDescription("rpc.breaker.state", "1", "a circuit breaker: 0 closed, 1 half open, 2 open"),
        MetricDescription("rpc.breaker.transitions", "{transition}", "its changes of state, by the new one"),
        MetricDescription("rpc.breaker.rejected", "{call}", "calls that it has refused"),
        MetricDescription("rpc.server.authentication.verified", "{token}", "tokens verified"),
        MetricDescription("rpc.server.authentication.failed", "{call}", "credentials refused, by reason"),
        MetricDescription(
            "rpc.server.authentication.limited",
            "{call}",
            "calls refused unseen: their address failed too often"
        ),
    ]

    private static let process = [
        MetricDescription("process.cpu.time", "s", "processor time, by cpu.mode"),
        MetricDescription("process.memory.usage", "By", "resident memory"),
        MetricDescription("process.cpu.available", "{cpu}", "processors that the process may use"),
        MetricDescription("process.memory.limit", "By", "memory that the process may have"),
        MetricDescription("process.uptime", "s", "time since the start"),
        MetricDescription("process.file_descriptors", "{file_descriptor}", "file descriptors open"),
        MetricDescription("process.file_descriptors.limit", "{file_descriptor}", "the most that may be"),
        MetricDescription("process.threads", "{thread}", "threads"),
        MetricDescription("cohort.eventloop.lag", "s", "time until an event loop gets to what it is asked"),
    ]

    private static let engine = [
        MetricDescription("cohort.customers", "{customer}", "customers known"),
        MetricDescription("cohort.sequence", "{sequence}", "the last sequence that reads see"),
        MetricDescription("cohort.sequence.applied", "{sequence}", "the last sequence that the tables hold"),
        MetricDescription("cohort.queue.rows", "{row}", "rows that wait for the committer"),
        MetricDescription("cohort.queue.rows.limit", "{row}", "the most rows that may wait"),
        MetricDescription("cohort.index.bytes", "By", "memory that the index takes"),
        MetricDescription("cohort.builds", "{build}", "changes of rules and previews that wait or run"),
        MetricDescription("cohort.builds.limit", "{build}", "the most that may"),
        MetricDescription("cohort.watches.running", "{watch}", "watches of memberships"),
        MetricDescription("cohort.watches.slowest_behind", "{sequence}", "sequences that the slowest watch is behind"),
        MetricDescription("cohort.approvals.pending", "{change}", "changes that wait for approval"),
        MetricDescription("cohort.approvals.oldest_age", "s", "time since the first of them was asked for"),
        MetricDescription("cohort.erasures.running", "{erasure}", "erasures of the members of a cohort that run"),
    ]

    private static let store = [
        MetricDescription("cohort.ingest.rows", "{row}", "rows answered, by outcome"),
        MetricDescription("cohort.commit.duration", "s", "appends to the log, until they are durable"),
        MetricDescription("cohort.commit.entries", "{entry}", "entries in one commit"),
        MetricDescription("cohort.log.entries", "{entry}", "entries committed"),
        MetricDescription("cohort.store.read.duration", "s", "reads of one customer from the tables"),
        MetricDescription("cohort.store.bytes", "By", "the store on disk"),
        MetricDescription("cohort.disk.free", "By", "room on the disk of the data directory"),
        MetricDescription("cohort.disk.size", "By", "size of that disk"),
        MetricDescription("cohort.log.bytes", "By", "the change log on disk"),
        MetricDescription("cohort.log.oldest_sequence", "{sequence}", "the first entry that is left"),
        MetricDescription("cohort.log.oldest_age", "s", "its age"),
    ]

    private static let upkeep = [
        MetricDescription("cohort.log.entries_deleted", "{entry}", "entries deleted by retention"),
        MetricDescription("cohort.history.intervals_deleted", "{interval}", "intervals deleted by retention"),
        MetricDescription(
            "cohort.drift.customers_checked",
            "{customer}",
            "customers whose memberships were derived anew"
        ),
        MetricDescription("cohort.drift.differences", "{membership}", "memberships that differed"),
        MetricDescription("cohort.scrub.pending", "{customer}", "erasures that wait for the scrub"),
        MetricDescription("cohort.scrub.oldest_age", "s", "time since the first of them"),
        MetricDescription("cohort.scrub.entries_rewritten", "{entry}", "log entries rewritten"),
        MetricDescription("cohort.audit.rows", "{row}", "rows of the audit"),
        MetricDescription("cohort.audit.oldest_age", "s", "age of the oldest of them"),
        MetricDescription("cohort.audit.buffered", "{row}", "rows of the audit that wait for the store"),
        MetricDescription("cohort.audit.buffered.limit", "{row}", "the most that may"),
        MetricDescription("cohort.audit.rows_lost", "{row}", "rows of the audit that were lost"),
        MetricDescription("cohort.audit.rows_deleted", "{row}", "rows of the audit deleted by retention"),
        MetricDescription("cohort.audit.verified_age", "s", "time since the audit was verified"),
        MetricDescription("cohort.audit.findings", "{finding}", "what the last verification found"),
    ]

    private static let telemetry = [
        MetricDescription("telemetry.metrics.series", "{series}", "series of all metrics"),
        MetricDescription(
            "telemetry.metrics.series_overflowed",
            "{series}",
            "series not made because their metric had too many"
        ),
        MetricDescription("telemetry.spans.waiting", "{span}", "spans that wait for a reader"),
        MetricDescription("telemetry.spans.dropped", "{span}", "spans lost because too many waited"),
        MetricDescription(
            "telemetry.access_log.suppressed",
            "{line}",
            "access lines left out because there were too many"
        ),
        MetricDescription("telemetry.log.lines_lost", "{line}", "log lines that could not be written"),
    ]
}

import CohortCore
import Foundation
import Logging
import RPC
import ServiceSettings

/// Everything the server is told, checked.
struct ServerSettings: Sendable {
    let isDevelopment: Bool
    let listen: Endpoint
    let dataDirectory: String
    let tls: ServerTLS
    let logLevel: Logger.Level
    let telemetry: TelemetrySettings
    let drain: Duration
    /// Most time that an upload may take.
    let upload: Duration
    /// Event loops, 1 or more.
    let threads: Int
    let limits: ServerLimits
    let access: AccessSettings
    let engine: EngineConfiguration
    let auditKeys: AuditKeySource
    let breaker: CircuitBreaker.Policy
    let overload: OverloadConfiguration

    /// - Throws: ``SettingsError`` naming the setting and what would be right.
    init(_ reader: SettingsReader) throws {
        isDevelopment = try reader.flag("dev")
        dataDirectory = try reader.text("data.dir") ?? "./cohort-data"
        let address = try reader.text("listen") ?? ""
        guard let listen = Endpoint(address) else {
            throw SettingsError("--listen is '\(address)'; it takes HOST:PORT, as 127.0.0.1:7443")
        }
        self.listen = listen
        logLevel = Logger.Level(rawValue: try reader.word("log.level") ?? "info") ?? .info
        telemetry = try TelemetrySettings(reader)
        drain = try reader.seconds("drain.seconds")
        upload = try reader.seconds("limits.upload.seconds")
        let threads = try reader.whole("threads")
        // Of the processors that the process may run on: more loops than those only take turns.
        self.threads = threads > 0 ? threads : Processors.available
        limits = try Self.limits(reader)
        engine = try Self.engine(reader)
        breaker = try reader.breaker()
        overload = try reader.overload()
        if isDevelopment {
            guard Self.isLoopback(listen.host) else {
                throw SettingsError(
                    "--dev trusts everyone, so it listens on loopback only; --listen is '\(address)': "
                        + "use 127.0.0.1, ::1 or localhost, or leave out --dev and configure certificates"
                )
            }
            tls = try Self.developmentTLS(reader, dataDirectory)
            access = try AccessSettings(reader, isDevelopment: true)
        } else {
            tls = try Self.tls(reader)
            access = try AccessSettings(reader, isDevelopment: false)
            guard tls.clientCertificates != .off || access.tokens != nil else {
                throw SettingsError(
                    "--tls-clients is off and no tokens are taken, so that nobody could show who they are: "
                        + "use request or require, or set --auth-jwt-keys"
                )
            }
        }
        auditKeys = try Self.auditKeys(reader, isDevelopment ? dataDirectory : nil)
    }

    /// Checks who may read and change the files that are read by others than ``SettingsFile``.
    ///
    /// - Throws: ``SettingsError``.
    func checkFiles() throws {
        guard !isDevelopment else { return }
        let files: [(flag: String, path: String?, secrecy: SettingsFile.Secrecy)] = [
            ("--tls-key", tls.privateKeyPath, .secret), ("--tls-certificate", tls.certificateChainPath, .open),
            ("--tls-ca", tls.trustRootsPath, .open),
        ]
        for (flag, path, secrecy) in files {
            guard let path else { continue }
            do { try SettingsFile.check(path, secrecy) } catch { throw SettingsError("\(flag): \(error)") }
        }
    }

    /// - Parameter directory: in development, where the data is.
    private static func auditKeys(_ reader: SettingsReader, _ directory: String?) throws -> AuditKeySource {
        let path = try reader.text("audit.key.file")
        if let text = reader.secret("COHORT_AUDIT_KEY") {
            guard path == nil else {
                throw SettingsError("COHORT_AUDIT_KEY and --audit-key-file say the same; give one of them")
            }
            return .environment(text)
        }
        if let path { return .file(AuditKeyFile(path: path, isDevelopment: directory != nil)) }
        guard let directory else {
            throw SettingsError(
                "the audit needs a key that is kept outside of the data directory: set --audit-key-file to a file that "
                    + "only this user can read, made with `cohortctl audit key > FILE`, or COHORT_AUDIT_KEY to what "
                    + "`cohortctl audit key` prints"
            )
        }
        return .file(AuditKeyFile(path: directory + "/keys/audit.key", isDevelopment: true))
    }

    static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    private static func tls(_ reader: SettingsReader) throws -> ServerTLS {
        guard let certificate = try reader.text("tls.certificate"), let key = try reader.text("tls.key") else {
            throw SettingsError(
                "without --dev a certificate is needed: set --tls-certificate and --tls-key to PEM files"
            )
        }
        let mode = ClientCertificateMode(rawValue: try reader.word("tls.clients") ?? "require") ?? .require
        let roots = try reader.text("tls.ca")
        guard mode == .off || roots != nil else {
            throw SettingsError(
                "client certificates are verified, so --tls-ca needs the PEM file of their authorities; "
                    + "or set --tls-clients off"
            )
        }
        return ServerTLS(
            certificateChainPath: certificate,
            privateKeyPath: key,
            trustRootsPath: roots,
            clientCertificates: mode
        )
    }

    private static func developmentTLS(_ reader: SettingsReader, _ dataDirectory: String) throws -> ServerTLS {
        for key in ["tls.certificate", "tls.key", "tls.ca"] where try reader.text(key) != nil {
            throw SettingsError("--dev makes its own certificates; leave out \(key), or leave out --dev")
        }
        let files = DevelopmentCertificates(directory: dataDirectory + "/tls")
        let mode = ClientCertificateMode(rawValue: try reader.word("tls.clients") ?? "request") ?? .request
        return ServerTLS(
            certificateChainPath: files.serverCertificate,
            privateKeyPath: files.serverKey,
            trustRootsPath: files.authority,
            clientCertificates: mode
        )
    }

    private static func limits(_ reader: SettingsReader) throws -> ServerLimits {
        var limits = ServerLimits()
        limits.maxConnections = try reader.whole("limits.connections")
        limits.maxStreamsPerConnection = try reader.whole("limits.streams")
        limits.maxFrameBytes = try reader.whole("limits.frame.bytes")
        limits.maxMetadataBytes = try reader.whole("limits.metadata.bytes")
        limits.maxRequestBytesInFlight = try reader.whole("limits.request.bytes")
        limits.maxResponseBytesPending = try reader.whole("limits.response.bytes")
        limits.streamWindowBytes = try reader.whole("limits.window.bytes")
        limits.handshakeTimeout = try reader.seconds("limits.handshake.seconds")
        limits.partialFrameTimeout = try reader.seconds("limits.frame.seconds")
        limits.idleTimeout = try reader.seconds("limits.idle.seconds")
        limits.unwritableTimeout = try reader.seconds("limits.unwritable.seconds")
        return limits
    }

    private static func engine(_ reader: SettingsReader) throws -> EngineConfiguration {
        var engine = EngineConfiguration()
        engine.queueCapacity = try reader.whole("limits.queue.rows")
        engine.groupRows = try reader.whole("limits.group.rows")
        engine.maximumBatchRows = try reader.whole("limits.batch.rows")
        engine.maximumIDsPerChange = try reader.whole("limits.change.ids")
        engine.maximumUploadIDs = try reader.whole("limits.upload.ids")
        engine.maximumUploads = try reader.whole("limits.uploads")
        engine.maximumWatches = try reader.whole("limits.watches")
        engine.maximumWatchSnapshots = try reader.whole("limits.watch.snapshots")
        engine.maximumAttributes = try reader.whole("limits.attributes")
        engine.maximumCohorts = try reader.whole("limits.cohorts")
        engine.maximumCohortDepth = try reader.whole("limits.cohort.depth")
        engine.maximumVersions = try reader.whole("limits.versions")
        engine.maximumDrafts = try reader.whole("limits.drafts")
        engine.maximumPendingChanges = try reader.whole("limits.approvals.pending")
        engine.approvalExpiry = try reader.age("approvals.expire.age")
        engine.maximumMemberErasures = try reader.whole("limits.erasures")
        engine.memberErasureRows = try reader.whole("limits.erasure.rows")
        engine.maximumBuilds = try reader.whole("limits.builds")
        engine.buildSwitchCustomers = try reader.whole("limits.build.held")
        engine.maximumExpressionBytes = try reader.whole("limits.expression.bytes")
        engine.maximumExpressionCohorts = try reader.whole("limits.expression.cohorts")
        engine.maximumExpressionNesting = try reader.whole("limits.expression.nesting")
        engine.maximumHistoryIntervals = try reader.whole("limits.history.intervals")
        engine.maximumHistoryScans = try reader.whole("limits.history.scans")
        engine.maximumPendingBytes = try reader.whole("limits.pending.bytes")
        engine.maximumStringBytes = try reader.whole("limits.string.bytes")
        engine.maximumListElements = try reader.whole("limits.list.elements")
        engine.maximumAttributesPerCustomer = try reader.whole("limits.customer.attributes")
        engine.maximumRecordBytes = try reader.whole("limits.record.bytes")
        engine.maximumEventTimeLead = try reader.seconds("limits.lead.seconds").components.seconds
        engine.maximumSequenceWait = try reader.seconds("limits.wait.seconds")
        engine.logRetentionAge = try reader.age("log.retention.age")
        engine.logRetentionBytes = try reader.bytes("log.retention.bytes")
        engine.historyRetentionAge = try reader.age("history.retention.age")
        engine.auditRetentionAge = try reader.age("audit.retention.age")
        engine.maximumAuditRows = try reader.whole("limits.audit.rows")
        engine.maximumAuditList = try reader.whole("limits.audit.list")
        guard let scrubDelay = try reader.age("erase.scrub.age") else {
            throw SettingsError("--erase-scrub-age: what was erased has to be scrubbed; give a time of at most 22h")
        }
        engine.scrubDelay = scrubDelay
        engine.driftPeriod = try reader.age("drift.audit.age")
        engine.driftRate = try reader.whole("drift.audit.rate")
        return engine
    }
}

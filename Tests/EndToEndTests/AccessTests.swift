import CohortAPI
import Foundation
import RPC
import SwiftProtobuf
import Testing

@testable import CohortServices

@Suite("Access", .timeLimit(.minutes(5)))
struct AccessTests {
    private static let roles = ["reader", "writer", "admin", "operator", "auditor"]

    private static let policy =
        "grants:\n"
        + roles.map { "  - certificate: spiffe://test/\($0)\n    roles: [\($0)]\n" }.joined()
            + """
              - certificate: spiffe://test/narrow
                roles: [reader]
                cohorts: [VIP]
              - claim: {name: groups, value: analysts}
                roles: [reader]
              - subject: importer
                roles: [writer]

            """

    /// What each role may call, once more and by hand: a change of the table has to be meant.
    private static let allowed: [String: String] = [
        "cohort.v1.MembershipService": """
        CheckMembership reader admin
        BatchCheckMembership reader admin
        ListCustomerCohorts reader admin
        ListMembers reader admin
        CountMembers reader admin
        CombineCohorts reader admin
        ExplainMembership writer admin auditor
        """,
        "cohort.v1.HistoryService": """
        GetMembershipHistory reader admin auditor
        WatchMemberships reader admin
        """,
        "cohort.v1.CustomerService": """
        PutCustomer writer
        BatchPutCustomers writer
        ImportCustomers writer
        GetCustomer writer admin
        EraseCustomer writer admin
        EraseMembers admin
        DeclareAttribute admin
        ListAttributes reader writer admin operator auditor
        """,
        "cohort.v1.CohortService": """
        GetCohort reader writer admin operator auditor
        ListCohorts reader writer admin operator auditor
        CreateCohort admin
        UpdateCohortRule admin
        SetOverrides admin
        ModifyStaticMembers admin
        UploadAssignments admin
        ArchiveCohort admin
        SetApprovalRequired admin
        """,
        "cohort.v1.ApprovalService": """
        ListPendingChanges admin auditor
        ApproveChange admin
        RejectChange admin
        """,
        "cohort.v1.VersionService": """
        ListVersions reader admin operator auditor
        DraftVersion admin
        DiscardVersion admin
        PreviewVersion admin
        PublishVersion admin
        RevertCohort admin
        """,
        "cohort.v1.OperationsService": """
        GetStatus admin operator auditor
        GetCapacity admin operator
        ScrapeMetrics admin operator
        StreamSpans operator
        SetLogLevel admin operator
        """,
        "cohort.v1.AuditService": """
        ListAuditRows auditor
        VerifyAudit auditor
        """,
        "cohort.v1.AccessService": "ListAccess admin auditor",
        "grpc.health.v1.Health": """
        Check reader writer admin operator auditor
        Watch reader writer admin operator auditor
        List reader writer admin operator auditor
        """,
    ]

    /// Makes the call with an empty request and tells how it ended: OK for a stream that says something, or stays open.
    private func code(_ client: Client, _ method: MethodDescriptor) async -> RPCError.Code {
        do throws(RPCError) {
            let options = CallOptions(timeout: .seconds(3))
            switch method.kind {
            case .unary:
                let _: Google_Protobuf_Empty = try await client.unary(method, Google_Protobuf_Empty(), options)
            case .serverStreaming:
                let stream: ResponseStream<Google_Protobuf_Empty> = try await client.serverStream(
                    method,
                    Google_Protobuf_Empty(),
                    options
                )
                for try await _ in stream { break }
            case .clientStreaming:
                let call: ClientStreamCall<Google_Protobuf_Empty, Google_Protobuf_Empty> =
                    try await client.clientStream(
                        method,
                        options
                    )
                _ = try await call.finish()
            case .bidirectional:
                let call: BidirectionalCall<Google_Protobuf_Empty, Google_Protobuf_Empty> =
                    try await client.bidirectional(method, options)
                call.requests.finish()
                for try await _ in call.responses { break }
            }
            return .ok
        } catch {
            return error.code
        }
    }

    private static let descriptors: [String: MethodDescriptor] = {
        let all =
            MembershipServiceMethods.all + HistoryServiceMethods.all + CustomerServiceMethods.all
            + CohortServiceMethods.all + VersionServiceMethods.all + OperationsServiceMethods.all
            + AccessServiceMethods.all + ApprovalServiceMethods.all + AuditServiceMethods.all
            + [HealthService.Methods.check, HealthService.Methods.watch, HealthService.Methods.list]
        return Dictionary(uniqueKeysWithValues: all.map { ($0.fullName, $0) })
    }()

    @Test("every method is refused to every role that the matrix does not name, and to no other")
    func matrix() async throws {
        let certificates = try AccessCertificates()
        for role in Self.roles + ["nobody"] { try certificates.issue(role, names: "URI:spiffe://test/\(role)") }
        let server = try await SecuredServer(policy: Self.policy, certificates: certificates)
        var seen = 0
        for role in Self.roles + ["nobody"] {
            try await server.withClient(certificate: role) { client in
                for (service, lines) in Self.allowed {
                    for line in lines.split(separator: "\n") {
                        let words = line.split(separator: " ").map(String.init)
                        let method = try #require(Self.descriptors["\(service)/\(words[0])"], "\(service)/\(words[0])")
                        let code = await code(client, method)
                        let isAllowed = words.dropFirst().contains(role)
                        #expect((code == .permissionDenied) == !isAllowed, "\(role) \(method.fullName): \(code)")
                        #expect(code != .unauthenticated && code != .unimplemented, "\(role) \(method.fullName)")
                        seen += 1
                    }
                }
            }
        }
        #expect(seen == AccessTable.rows.count * (Self.roles.count + 1))
    }

    @Test("a certificate of another authority, or one that has expired, never completes the handshake")
    func handshake() async throws {
        let certificates = try AccessCertificates()
        try certificates.issue("good", names: "URI:spiffe://test/operator")
        try certificates.issueByStranger("stranger", names: "URI:spiffe://test/operator")
        try certificates.issue("expired", names: "URI:spiffe://test/operator", days: -1)
        let server = try await SecuredServer(policy: Self.policy, clients: "require", certificates: certificates)
        func status(_ certificate: String?) async throws -> GetStatusResponse {
            try await server.withClient(certificate: certificate) {
                try await CohortClient($0).operations.getStatus(.init())
            }
        }
        #expect(try await status("good").state == .serving)
        for name in ["stranger", "expired", nil] {
            let error = await #expect(throws: RPCError.self) { _ = try await status(name) }
            #expect(error?.code == .unavailable, "\(name ?? "none"): \(error?.message ?? "")")
        }
        let closed = server.program.errors.components(separatedBy: "\"reason\":\"handshake failed\"").count - 1
        #expect(closed >= 3, "\(server.program.errors)")
        #expect(!server.program.errors.contains("PERMISSION_DENIED"))
    }

    @Test("tokens: roles by subject and claim, with ttrpc-x1 and with stock; wrong ones are refused")
    func tokens() async throws {
        let certificates = try AccessCertificates()
        let server = try await SecuredServer(policy: Self.policy, certificates: certificates)
        func put(_ token: BearerToken?, stock: Bool = false) async throws {
            try await server.withClient(token: token, stock: stock) { client in
                for n in 0..<3 {
                    _ = try await CohortClient(client).customers.putCustomer(
                        .with {
                            $0.customerID = "c\(n)"
                            $0.attributes = ["daily_spend": .with { $0.doubleValue = 1 }]
                        }
                    )
                }
            }
        }
        try await put(server.token("importer"))
        try await put(server.token("importer"), stock: true)
        let wrong: [(BearerToken?, RPCError.Code)] = [
            (nil, .unauthenticated), (try await server.token("importer", by: TokenSigner()), .unauthenticated),
            (try await server.token("importer", audience: "other"), .unauthenticated),
            (try await server.token("importer", lifetime: -60), .unauthenticated),
            (try await server.token("analyst", groups: ["analysts"]), .permissionDenied),
            (try await server.token("stranger"), .permissionDenied),
        ]
        for (token, code) in wrong {
            for stock in [false, true] {
                let error = await #expect(throws: RPCError.self) { try await put(token, stock: stock) }
                #expect(error?.code == code)
            }
        }
        // Nothing of a token is in the log.
        #expect(!server.program.errors.contains("eyJ"))
        let analyst = try await server.token("analyst", groups: ["other", "analysts"])
        let answer = try await server.withClient(token: analyst) { client in
            try await CohortClient(client).membership.listCustomerCohorts(.with { $0.customerID = "c1" })
        }
        #expect(answer.customerFound)
    }

    @Test("keys and policy are read again when they change; what cannot be used changes nothing")
    func reload() async throws {
        let certificates = try AccessCertificates()
        try certificates.issue("auditor", names: "URI:spiffe://test/auditor")
        let server = try await SecuredServer(policy: Self.policy, certificates: certificates)
        let token = try await server.token("analyst", groups: ["analysts"])
        let next = TokenSigner()
        try await server.withClient(token: token) { client in
            func code() async -> RPCError.Code {
                do throws(RPCError) {
                    _ = try await CohortClient(client).membership.listCustomerCohorts(.with { $0.customerID = "c" })
                    return .ok
                } catch {
                    return error.code
                }
            }
            func becomes(_ wanted: RPCError.Code) async throws {
                try await eventually("it stays \(await code())") { await code() == wanted }
            }
            #expect(await code() == .ok)
            // Not usable: everything goes on, and the review says why.
            try server.files.write("policy.yaml", "grants:\n  - subject: '*'\n    roles: [admin]\n")
            try await server.withClient(certificate: "auditor") { auditor in
                try await eventually("no problem is told") {
                    try await CohortClient(auditor).access.listAccess(.init()).problem.contains("grants[0].subject")
                }
            }
            #expect(await code() == .ok)
            // The role is taken away from a token that is known, on a connection that is open; then given back.
            try server.files.write(
                "policy.yaml",
                "grants:\n  - certificate: spiffe://test/auditor\n    roles: [auditor]\n"
            )
            try await becomes(.permissionDenied)
            try server.files.write("policy.yaml", Self.policy)
            try await becomes(.ok)
            // The key is rotated away.
            try server.files.write("keys.json", String(decoding: next.publicKeys, as: UTF8.self))
            try await becomes(.unauthenticated)
        }
        try await server.withClient(token: server.token("analyst", groups: ["analysts"], by: next)) { client in
            _ = try await CohortClient(client).membership.listCustomerCohorts(.with { $0.customerID = "c" })
        }
        let access = try await server.withClient(certificate: "auditor") {
            try await CohortClient($0).access.listAccess(.init())
        }
        #expect(access.problem.isEmpty && access.rules.count == 8 && access.tokenKeys == [next.identifier])
        #expect(access.principals.map(\.name) == ["analyst", "spiffe://test/auditor"])
        #expect(access.principals.map(\.credential) == [.token, .certificate])
        #expect(access.failures["unknown_key"] ?? 0 >= 1)
    }

    @Test("a reader of some cohorts learns nothing of the others")
    func restricted() async throws {
        let certificates = try AccessCertificates()
        for name in ["admin", "writer", "narrow"] { try certificates.issue(name, names: "URI:spiffe://test/\(name)") }
        let server = try await SecuredServer(policy: Self.policy, certificates: certificates)
        try await server.withClient(certificate: "admin") { client in
            for id in ["VIP", "FRAUD"] {
                _ = try await CohortClient(client).cohorts.createCohort(
                    .with {
                        $0.cohortID = id
                        $0.rule = "customer.daily_spend > 10.0"
                    }
                )
            }
        }
        try await server.withClient(certificate: "writer") { client in
            _ = try await CohortClient(client).customers.putCustomer(
                .with {
                    $0.customerID = "c"
                    $0.attributes = ["daily_spend": .with { $0.doubleValue = 20 }]
                }
            )
        }
        try await server.withClient(certificate: "narrow") { client in
            let cohort = CohortClient(client)
            let vip = try await cohort.membership.checkMembership(.with { ($0.customerID, $0.cohortID) = ("c", "VIP") })
            #expect(vip.membership == .in)
            let listed = try await cohort.membership.listCustomerCohorts(.with { $0.customerID = "c" })
            #expect(listed.cohorts.map(\.cohortID) == ["VIP"])
            #expect(try await cohort.cohorts.listCohorts(.init()).cohorts.map(\.cohortID) == ["VIP"])
            let history = try await cohort.history.getMembershipHistory(.with { $0.customerID = "c" })
            #expect(history.intervals.map(\.cohortID) == ["VIP"])
            let refused: [(String, () async throws -> Void)] = [
                (
                    "check",
                    {
                        _ = try await cohort.membership.checkMembership(
                            .with { ($0.customerID, $0.cohortID) = ("c", "FRAUD") }
                        )
                    }
                ),
                (
                    "check of the past",
                    {
                        _ = try await cohort.membership.checkMembership(
                            .with {
                                ($0.customerID, $0.cohortID) = ("c", "FRAUD")
                                $0.asOfSequence = 1
                            }
                        )
                    }
                ),
                (
                    "batch",
                    {
                        _ = try await cohort.membership.batchCheckMembership(
                            .with { ($0.customerIds, $0.cohortIds) = (["c"], ["VIP", "FRAUD"]) }
                        )
                    }
                ),
                (
                    "batch of one",
                    {
                        _ = try await cohort.membership.batchCheckMembership(
                            .with { ($0.customerIds, $0.cohortIds) = (["c"], ["FRAUD"]) }
                        )
                    }
                ),
                ("count", { _ = try await cohort.membership.countMembers(.with { $0.cohortID = "FRAUD" }) }),
                ("cohort", { _ = try await cohort.cohorts.getCohort(.with { $0.cohortID = "FRAUD" }) }),
                ("versions", { _ = try await cohort.versions.listVersions(.with { $0.cohortID = "FRAUD" }) }),
                ("one that does not exist", { _ = try await cohort.cohorts.getCohort(.with { $0.cohortID = "NONE" }) }),
                (
                    "history",
                    {
                        _ = try await cohort.history.getMembershipHistory(
                            .with { ($0.customerID, $0.cohortID) = ("c", "FRAUD") }
                        )
                    }
                ),
                (
                    "members",
                    { for try await _ in try await cohort.membership.listMembers(.with { $0.cohortID = "FRAUD" }) {} }
                ),
                (
                    "combination",
                    {
                        for try await _ in try await cohort.membership.combineCohorts(
                            .with { $0.expression = "VIP and not FRAUD" }
                        ) {}
                    }
                ),
                (
                    "watch",
                    {
                        for try await _ in try await cohort.history.watchMemberships(
                            .with { $0.cohortIds = ["VIP", "FRAUD"] }
                        ) { break }
                    }
                ),
            ]
            for (what, body) in refused {
                let error = await #expect(throws: RPCError.self, "\(what)") { try await body() }
                #expect(error?.code == .permissionDenied, "\(what): \(error?.message ?? "")")
                #expect(error?.errorInfo?.reason == "COHORT_NOT_ALLOWED", "\(what)")
            }
            let all = await #expect(throws: RPCError.self) {
                for try await _ in try await cohort.history.watchMemberships(.init()) { break }
            }
            #expect(all?.code == .invalidArgument)
        }
    }

    @Test("a hundred wrong tokens a second from one address are refused unseen, and slow nobody else")
    func flood() async throws {
        let certificates = try AccessCertificates()
        try certificates.issue("auditor", names: "URI:spiffe://test/auditor")
        let server = try await SecuredServer(
            policy: Self.policy,
            arguments: ["--limits-auth-failures-minute", "60", "--limits-auth-failures-burst", "10"],
            certificates: certificates
        )
        let stranger = TokenSigner()
        let method = MembershipServiceMethods.listCustomerCohorts
        // Known before the flood: it goes on from the same address.
        let analyst = try await server.token("analyst", groups: ["analysts"])
        try await server.withClient(token: analyst) { good in
            let request = ListCustomerCohortsRequest.with { $0.customerID = "c" }
            _ = try await CohortClient(good).membership.listCustomerCohorts(request)
            var codes: [RPCError.Code: Int] = [:]
            try await server.withClient { bad in
                for n in 0..<200 {
                    let token = try await server.signed("u\(n)", by: stranger)
                    let options = CallOptions(metadata: ["authorization": "Bearer \(token)"])
                    do throws(RPCError) {
                        let _: ListCustomerCohortsResponse = try await bad.unary(method, request, options)
                    } catch {
                        codes[error.code, default: 0] += 1
                    }
                    _ = try await CohortClient(good).membership.listCustomerCohorts(request)
                }
            }
            #expect(codes[.unauthenticated, default: 0] >= 10)
            #expect(codes[.resourceExhausted, default: 0] > 150)
            #expect(codes.values.reduce(0, +) == 200)
        }
        let access = try await server.withClient(certificate: "auditor") {
            try await CohortClient($0).access.listAccess(.init())
        }
        // What was refused unseen cost no verification.
        #expect(access.limited > 150 && access.failures["unknown_key"] ?? 0 < 50)
    }

    @Test("cohortctl makes keys, mints tokens that the server takes, and lists access")
    func commands() async throws {
        let certificates = try AccessCertificates()
        let server = try await SecuredServer(policy: Self.policy, certificates: certificates)
        let files = server.files
        func run(_ arguments: [String], environment: [String: String] = [:], expecting: Int32 = 0) async throws
            -> String
        {
            let program = try RunningProgram(Programs.cohortctl, arguments, environment: environment)
            let status = try await program.wait()
            #expect(status == expecting, "\(arguments): \(program.output)\(program.errors)")
            return program.output + program.errors
        }
        let key = ["token", "key", "--out", files.file("dev.key"), "--jwks", files.file("dev.json")]
        _ = try await run(key)
        #expect(try await run(key, expecting: 1).contains("cannot make the file"))
        try FileManager.default.removeItem(atPath: files.file("keys.json"))
        try FileManager.default.moveItem(atPath: files.file("dev.json"), toPath: files.file("keys.json"))
        let mint = [
            "token", "mint", "--signing-key", files.file("dev.key"), "--issuer", SecuredServer.issuer, "--audience",
            "cohort",
            "--subject", "ann", "--claim", "groups=analysts", "--claim", "groups=others",
        ]
        let token = try await run(mint).trimmingCharacters(in: .whitespacesAndNewlines)
        try files.write("token", token)
        let connection = ["--endpoint", "\(server.endpoint)", "--ca", certificates.path("ca.pem")]
        // The new key is found within seconds.
        _ = try await accepted(connection + ["cohorts-of", "c"], token)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: files.file("token"))
        let open = try await run(connection + ["--token-file", files.file("token"), "cohorts-of", "c"], expecting: 2)
        #expect(open.contains("chmod o-rwx"))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: files.file("token"))
        _ = try await run(connection + ["--token-file", files.file("token"), "cohorts-of", "c"])
        #expect(
            try await run(connection + ["--token-file", files.file("token"), "status"], expecting: 1).contains(
                "operator"
            )
        )
        let auditor = try await run(
            mint.map { $0 == "groups=others" ? "groups=audit" : $0 }.map { $0 == "ann" ? "eve" : $0 }
        ).trimmingCharacters(in: .whitespacesAndNewlines)
        try files.write("policy.yaml", Self.policy + "  - claim: {name: groups, value: audit}\n    roles: [auditor]\n")
        let access = try await accepted(connection + ["access", "list"], auditor)
        #expect(access.contains("groups=audit") && access.contains("eve"), "\(access)")
    }

    /// What cohortctl says once the server takes the token.
    private func accepted(_ arguments: [String], _ token: String) async throws -> String {
        var said = ""
        try await eventually("refused: \(said)") {
            let program = try RunningProgram(Programs.cohortctl, arguments, environment: ["COHORT_TOKEN": token])
            let status = try await program.wait()
            said = status == 0 ? program.output : program.errors
            return status == 0
        }
        return said
    }

    @Test("keys and policies that others may change or read are refused at the start")
    func permissions() async throws {
        let certificates = try AccessCertificates()
        let files = try TemporaryDirectory()
        try files.write("policy.yaml", Self.policy)
        func start() async throws -> (Int32, String) {
            let program = try RunningProgram(
                Programs.server,
                [
                    "--listen", "127.0.0.1:0", "--data-dir", files.file("data"), "--auth-policy",
                    files.file("policy.yaml"),
                ] + certificates.serverArguments(clients: "require")
            )
            return (try await program.wait(seconds: 30), program.errors)
        }
        func mode(_ mode: Int, _ path: String) throws {
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        }
        try mode(0o644, certificates.path("server.key"))
        var (status, said) = try await start()
        #expect(status == 1 && said.contains("--tls-key") && said.contains("chmod o-rwx"), "\(said)")
        try mode(0o600, certificates.path("server.key"))
        try mode(0o666, files.file("policy.yaml"))
        (status, said) = try await start()
        #expect(status == 1 && said.contains("--auth-policy") && said.contains("chmod go-w"), "\(said)")
        try mode(0o644, files.file("policy.yaml"))
        try mode(0o604, certificates.path("audit.key"))
        (status, said) = try await start()
        #expect(status == 1 && said.contains("--audit-key-file") && said.contains("chmod"), "\(said)")
    }
}

import Foundation
import Testing

/// Approval between two people by `cohortctl`, each with a certificate, over real TLS.
@Suite("Approval by cohortctl")
struct ApprovalTests {
    private struct Two {
        let server: TestServer
        let authority: TestAuthority

        @discardableResult
        func run(
            _ who: String,
            _ arguments: String...,
            expecting status: Int32 = 0
        ) async throws -> (output: String, errors: String) {
            try await server.cohortctl(authority.options(who) + arguments, expecting: status)
        }
    }

    private func start(_ directory: TemporaryDirectory) async throws -> Two {
        let data = directory.file("data")
        let authority = try TestAuthority(
            directory: data + "/tls",
            clients: ["ann": "URI:spiffe://shop/ann", "bob": "URI:spiffe://shop/bob"]
        )
        try directory.write("policy.yaml", "grants:\n  - certificate: spiffe://shop/*\n    roles: [admin, writer]\n")
        return try await start(authority, data, policy: directory.file("policy.yaml"))
    }

    private func start(_ authority: TestAuthority, _ data: String, policy: String) async throws -> Two {
        let server = try await TestServer(
            dataDirectory: data,
            arguments: authority.serverArguments() + ["--auth-policy", policy, "--approvals-expire-age", "1h"],
            isDevelopment: false,
            waitsUntilReady: false
        )
        let two = Two(server: server, authority: authority)
        try await two.run("ann", "status", "--wait", "60")
        return two
    }

    private func id(in notice: String) throws -> String {
        String(try #require(notice.firstMatch(of: #/change (\d+) waits for approval/#)?.1))
    }

    @Test("Ann asks, Bob approves; a restart in between loses nothing")
    func life() async throws {
        let directory = try TemporaryDirectory()
        var two = try await start(directory)
        for (id, spend) in [("ANN", "9500"), ("BOB", "6000"), ("CAT", "100")] {
            try await two.run("ann", "customers", "put", id, "daily_spend=\(spend)")
        }
        let rule = "customer.daily_spend > 5000.0"
        try await two.run("ann", "cohorts", "create", "PREMIUM", "--rule", rule, "--require-approval")
        #expect(try await two.run("ann", "cohorts", "show", "PREMIUM").output.contains("approval     required"))
        #expect(try await two.run("ann", "cohorts", "list").output.contains("required"))
        let asked = try await two.run("ann", "cohorts", "update-rule", "PREMIUM", "customer.daily_spend > 8000.0")
        let update = try id(in: asked.output)
        #expect(asked.output.hasPrefix("not done yet: change \(update) waits for approval until "))
        #expect(asked.output.contains("cohortctl cohorts approve \(update)"))
        #expect(!asked.output.contains("\u{1B}["), "no colours but on a terminal")
        #expect(try await two.run("ann", "members", "PREMIUM", "--count").output == "2\n")
        let archive = try id(in: try await two.run("bob", "cohorts", "archive", "PREMIUM").output)

        let status = try await two.run("bob", "status").output
        #expect(status.contains("2 changes, the first of "))
        let pending = try await two.run("bob", "cohorts", "pending").output.split(separator: "\n")
        #expect(pending.count == 3)
        #expect(
            pending[1].contains("\(archive)") && pending[1].contains("archive")
                && pending[1].contains("spiffe://shop/bob")
        )
        #expect(pending[2].contains("publish version 2") && pending[2].contains("spiffe://shop/ann"))

        let own = try await two.run("ann", "cohorts", "approve", update, expecting: 1)
        #expect(own.errors.contains("APPROVAL_BY_AUTHOR") && own.errors.contains("permissionDenied") == false)
        let drafter = try await two.run("bob", "cohorts", "approve", archive, expecting: 1)
        #expect(drafter.errors.contains("spiffe://shop/bob asked for change \(archive)"))
        let second = try await two.run("bob", "cohorts", "publish", "PREMIUM", "2", expecting: 1)
        #expect(
            second.errors.contains("CHANGE_PENDING") && second.errors.contains("change \(update) of spiffe://shop/ann")
        )

        try await two.server.kill()
        two = try await start(two.authority, two.server.dataDirectory, policy: directory.file("policy.yaml"))
        #expect(try await two.run("bob", "cohorts", "pending").output.split(separator: "\n")[1...] == pending[1...])
        let approved = try await two.run("bob", "cohorts", "approve", update, "--note", "looked at")
        #expect(
            approved.output.hasPrefix("approved change \(update) of spiffe://shop/ann: published version 2 of PREMIUM")
        )
        #expect(approved.output.contains("0 entered, 1 left, 0 became UNKNOWN"))
        #expect(try await two.run("ann", "members", "PREMIUM", "--count").output == "1\n")
        let rejected = try await two.run("ann", "cohorts", "reject", archive, "--note", "still needed")
        #expect(rejected.output.hasPrefix("rejected change \(archive) of spiffe://shop/bob (archive, PREMIUM)"))
        #expect(try await two.run("ann", "cohorts", "pending", "PREMIUM").output.split(separator: "\n").count == 1)
        let all = try await two.run("ann", "cohorts", "pending", "--all").output.split(separator: "\n")
        #expect(all.count == 3 && all[1].contains("rejected") && all[1].hasSuffix("still needed"))
        #expect(all[2].contains("approved") && all[2].contains("spiffe://shop/bob") && all[2].hasSuffix("looked at"))
        let json = try await two.run("ann", "--output", "json", "cohorts", "pending", "PREMIUM", "--all").output
        let object = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any]
        let changes = object?["changes"] as? [[String: Any]]
        #expect(changes?.map { $0["state"] as? String } == ["CHANGE_STATE_REJECTED", "CHANGE_STATE_APPROVED"])
        #expect(
            try await two.run("ann", "cohorts", "approve", "999999", expecting: 1).errors.contains("there is no change")
        )

        let off = try id(in: try await two.run("bob", "cohorts", "require-approval", "PREMIUM", "off").output)
        #expect(
            try await two.run("ann", "cohorts", "approve", off).output.contains("PREMIUM requires no approval any more")
        )
        let on = try await two.run("bob", "cohorts", "require-approval", "PREMIUM", "on")
        #expect(on.output.hasPrefix("PREMIUM requires approval [sequence "))
        #expect(try await two.server.stop() == 0)
    }

    @Test("Members are erased with the right number only, and in a guarded cohort by two people")
    func eraseMembers() async throws {
        let directory = try TemporaryDirectory()
        let two = try await start(directory)
        for i in 0..<6 { try await two.run("ann", "customers", "put", "C\(i)", "daily_spend=\(i)") }
        try await two.run("ann", "cohorts", "create", "LOW", "--rule", "customer.daily_spend < 2.0")
        try await two.run("ann", "cohorts", "create", "REST", "--rule", "!in_cohort('LOW')")
        let wrong = try await two.run("ann", "customers", "erase-members", "LOW", "--expect", "3", expecting: 1)
        #expect(wrong.errors.contains("LOW has 2 members, and not 3") && wrong.errors.contains("MEMBERS_DIFFER"))
        let erased = try await two.run("ann", "customers", "erase-members", "LOW", "--expect", "2", "--yes")
        #expect(erased.output.hasPrefix("erased 2 members of LOW, 0 were gone already [sequence "))
        _ = try await two.run("ann", "customers", "get", "C0", expecting: 1)
        try await two.run("ann", "cohorts", "require-approval", "REST", "on")
        let asked = try await two.run("ann", "customers", "erase-members", "REST", "--expect", "4", "--limit", "1")
        let change = try id(in: asked.output)
        #expect(asked.output.contains("(erase 1 members, REST)"))
        try await two.run("ann", "customers", "get", "C2")
        let done = try await two.run("bob", "cohorts", "approve", change)
        #expect(done.output.contains("erased 1 members of REST, 0 were gone already"))
        _ = try await two.run("ann", "customers", "get", "C2", expecting: 1)
        try await two.run("ann", "customers", "get", "C3")
        let json = try await two.run("ann", "--output", "json", "cohorts", "pending", "--all").output
        #expect(json.contains("\"MEMBER_ERASURE_STATE_DONE\"") && json.contains("\"total\":1"))
        #expect(try await two.server.stop() == 0)
    }

    @Test("A file says that approval is required, and applying it again while a change waits changes nothing")
    func apply() async throws {
        let directory = try TemporaryDirectory()
        let two = try await start(directory)
        func file(_ rule: String, _ required: Bool) throws -> String {
            try directory.write(
                "c.yaml",
                "cohorts:\n  - id: BIG\n    rule: \(rule)\n    approval_required: \(required)\n"
            )
        }
        try await two.run("ann", "cohorts", "apply", try file("customer.daily_spend > 5.0", true))
        let changed = try file("customer.daily_spend > 7.0", true)
        let change = try id(in: try await two.run("ann", "cohorts", "apply", changed).output)
        let again = try await two.run("bob", "cohorts", "apply", changed)
        #expect(again.output.isEmpty && again.errors.contains("change \(change) of spiffe://shop/ann"))
        try await two.run("bob", "cohorts", "approve", change)
        #expect(try await two.run("ann", "cohorts", "apply", changed).errors.contains("is as the file says"))
        _ = try id(
            in: try await two.run("ann", "cohorts", "apply", try file("customer.daily_spend > 7.0", false)).output
        )
        #expect(try await two.server.stop() == 0)
    }

    @Test("Two callers without a certificate are one principal: neither approves what the other asked for")
    func anonymous() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.file("data"))
        try await server.cohortctl("cohorts", "create", "LIST", "--static", "--require-approval")
        let change = try id(in: try await server.cohortctl("cohorts", "archive", "LIST").output)
        let refused = try await server.cohortctl("cohorts", "approve", change, expecting: 1)
        #expect(refused.errors.contains("APPROVAL_BY_AUTHOR"))
        // One with a certificate cannot be told from who asked without.
        let named = ["--cert", server.tlsFile("client.pem"), "--key", server.tlsFile("client.key")]
        let approved = try await server.cohortctl(named + ["cohorts", "approve", change], expecting: 1)
        #expect(approved.errors.contains("APPROVAL_ANONYMOUS"))
        try await server.cohortctl("cohorts", "reject", change)
        #expect(try await server.stop() == 0)
    }
}

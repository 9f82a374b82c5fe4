import CohortAPI
import Foundation
import RPC
import Testing

@Suite("Fallback")
struct FallbackTests {
    @Test("A server that is gone or silent is answered for by the fail policy, and its refusals are passed on")
    func fallback() async throws {
        let directory = try TemporaryDirectory()
        let server = try await TestServer(dataDirectory: directory.path)
        for cohort in ["BIG", "VIP", "OPEN"] {
            try await server.cohortctl("cohorts", "create", cohort, "--rule", "customer.daily_spend > 10.0")
        }
        try await server.cohortctl("customers", "put", "ann", "daily_spend=20")
        try await server.withClient { client in
            let checker = MembershipChecker(
                CohortClient(client),
                policies: ["VIP": .out, "OPEN": .in]
            )
            let options = CallOptions(timeout: .seconds(1))
            let answer = try await checker.check("ann", in: "VIP")
            #expect(answer.membership == .in && answer.member == true && !answer.isFallback)
            #expect(answer.response?.cohortVersion == 1)
            let missing = await #expect(throws: RPCError.self) { _ = try await checker.check("ann", in: "NOPE") }
            #expect(missing?.code == .notFound)
            try await server.program.pause()
            let silent = try await checker.check("ann", in: "VIP", options: options)
            #expect(silent.isFallback && silent.member == false && silent.membership == .unknown)
            #expect(silent.problem?.code == .deadlineExceeded && silent.response == nil)
            try await server.kill()
            for (cohort, member) in [("VIP", false), ("OPEN", true), ("BIG", nil)] as [(String, Bool?)] {
                let gone = try await checker.check("ann", in: cohort, options: options)
                #expect(gone.isFallback && gone.member == member && gone.membership == .unknown, "\(cohort)")
            }
        }
    }
}

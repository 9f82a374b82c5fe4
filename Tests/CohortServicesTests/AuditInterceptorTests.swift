import CohortAPI
import CohortCore
import Foundation
import RPC
import Testing

@testable import CohortServices

@Suite("Calls in the audit")
struct AuditInterceptorTests {
    private func withEngine(_ body: (Engine) async throws -> Void) async throws {
        var configuration = EngineConfiguration()
        configuration.upkeepInterval = 0
        let engine = Engine(store: MemoryStore(), configuration: configuration)
        try await onThread { try engine.start() }
        try await body(engine)
        try await onThread { engine.shutdown() }
    }

    private func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }

    private func call(_ method: String, _ service: String = "s", host: String = "10.0.0.1") -> ServerCall {
        ServerCall(
            descriptor: MethodDescriptor(service: service, method: method, kind: .unary),
            peer: Peer(address: host + ":4711", host: host),
            principal: Principal(
                name: "cohort://ops/anna",
                source: .anonymous,
                grants: Grants(roles: [], table: AccessTable.methods)
            )
        )
    }

    private func rows(_ engine: Engine, _ kinds: Set<AuditItem.Kind>) async throws -> [AuditItem] {
        try await engine.noteDurably(
            AuditedCall(kind: .read, principal: "", method: ""),
            deadline: .now + .seconds(60)
        )
        var query = AuditQuery(limit: 100)
        query.kinds = kinds
        query.isOldestFirst = true
        let listing = try engine.listAudit(query)
        var items: [AuditItem] = []
        while let page = try await listing.next() { items += page }
        return items
    }

    @Test("Administrative calls are noted whatever became of them, others only when they are denied")
    func what() async throws {
        try await withEngine { engine in
            let interceptor = AuditInterceptor(engine: engine, administrative: ["s/Archive"])
            let archive = call("Archive")
            archive.audited(cohort: "BIG")
            archive.audited(sequence: 7)
            interceptor.endSpecialized(archive, CallOutcome())
            let failed = call("Archive")
            failed.audited(cohort: "not a cohort but Anna's id")
            failed.audited(customer: "anna")
            interceptor.endSpecialized(
                failed,
                CallOutcome(
                    error: RPCError(.notFound, "there is no customer 'anna'")
                        .withErrorInfo(reason: "NOT_FOUND", domain: "cohort.dev", metadata: ["resource_name": "anna"])
                )
            )
            for host in ["10.0.0.1", "10.0.0.1", "10.0.0.2"] {
                interceptor.endSpecialized(
                    call("Check", host: host),
                    CallOutcome(error: RPCError(.permissionDenied, "no"))
                )
            }
            interceptor.endSpecialized(call("Archive"), CallOutcome(error: RPCError(.unauthenticated, "who?")))
            interceptor.endSpecialized(call("Check"), CallOutcome())
            interceptor.endSpecialized(call("Check"), CallOutcome(error: RPCError(.notFound, "anna")))
            let found = try await rows(engine, [.administration, .denial])
            #expect(found.map(\.kind) == [.administration, .administration, .denial, .denial, .denial])
            #expect(found.allSatisfy { $0.principal == "cohort://ops/anna" })
            #expect(found[0].cohort == "BIG" && found[0].sequence == 7 && found[0].outcome == 0)
            #expect(found[1].reason == "NOT_FOUND" && found[1].outcome == 5 && found[1].cohort.isEmpty)
            #expect(found[1].customer.count == 16)
            #expect(found[2].peer == "10.0.0.1" && found[2].count == 2 && found[2].outcome == 7)
            #expect(found[4].outcome == 16 && found[4].method == "s/Archive")
            // Nothing of it is a customer's id.
            #expect(!found.contains { "\($0)".contains("anna'") || "\($0)".contains("Anna") })
        }
    }

    @Test("A customer's hash is keyed and the same in every row, and finds them")
    func customers() async throws {
        try await withEngine { engine in
            let interceptor = AuditInterceptor(engine: engine, administrative: ["s/Erase"])
            for customer in ["anna", "bert", "anna"] {
                let erase = call("Erase")
                erase.audited(customer: customer)
                interceptor.endSpecialized(erase, CallOutcome())
            }
            let found = try await rows(engine, [.administration])
            #expect(
                found.count == 3 && found[0].customer == found[2].customer && found[0].customer != found[1].customer
            )
        }
    }
}

extension AuditInterceptor {
    /// As the server would.
    fileprivate func endSpecialized(_ call: ServerCall, _ outcome: CallOutcome) {
        specialized(for: call.descriptor)?.end(call, outcome)
    }
}

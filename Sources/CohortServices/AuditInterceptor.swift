package import CohortCore
package import RPC

/// What a call is about, for the audit. Handlers attach it.
struct AuditedResource: CallKey, Sendable {
    typealias Value = AuditedResource

    var cohort = ""
    var customerID: String?
    /// The log entry that the call made; 0 for none.
    var sequence: UInt64 = 0
}

extension ServerCall {
    private func audited(_ change: (inout AuditedResource) -> Void) {
        var resource = self[AuditedResource.self] ?? AuditedResource()
        change(&resource)
        self[AuditedResource.self] = resource
    }

    /// The call is about this cohort.
    func audited(cohort: String) { audited { $0.cohort = cohort } }

    /// The call is about this customer, of whose id the audit keeps a keyed hash.
    func audited(customer: String) { audited { $0.customerID = customer } }

    /// The call has made this log entry.
    func audited(sequence: UInt64) { audited { $0.sequence = sequence } }
}

/// Notes calls in the audit when they end: those of administrative methods whatever became of them, and denials.
///
/// It comes before whatever refuses calls: `end` is only called where `begin` was.
package struct AuditInterceptor: ServerInterceptor {
    private let engine: Engine
    private let administrative: Set<String>
    /// Whether every call is noted, and not the denials alone.
    private var notesAll = false

    /// - Parameter administrative: the methods, named `service/method`, whose every call is noted.
    package init(engine: Engine, administrative: Set<String>) {
        self.engine = engine
        self.administrative = administrative
    }

    /// One that knows whether the method is administrative.
    package func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)? {
        var result = self
        result.notesAll = administrative.contains(method.fullName)
        return result
    }

    /// The end; that of failed calls where it notes denials alone.
    package var hooks: InterceptorHooks {
        notesAll ? InterceptorHooks(end: { end($0, $1) }) : InterceptorHooks(endOfFailures: { end($0, $1) })
    }

    /// Every call passes.
    package func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision { .proceed }

    /// Takes note; never waits.
    package func end(_ call: ServerCall, _ outcome: CallOutcome) {
        let isDenial = outcome.code == .permissionDenied || outcome.code == .unauthenticated
        guard isDenial || notesAll else { return }
        let resource = call[AuditedResource.self]
        engine.note(
            AuditedCall(
                kind: isDenial ? .denial : .administration,
                call,
                outcome: UInt8(clamping: outcome.code.rawValue),
                reason: outcome.error?.errorInfo?.reason ?? "",
                customerID: resource?.customerID,
                cohort: resource?.cohort ?? "",
                sequence: resource?.sequence ?? 0
            )
        )
    }
}

extension AuditedCall {
    init(
        kind: AuditEvent.Kind,
        _ call: ServerCall,
        outcome: UInt8 = 0,
        reason: String = "",
        customerID: String? = nil,
        cohort: String = "",
        sequence: UInt64 = 0
    ) {
        let context = call.writeContext
        self.init(
            kind: kind,
            principal: context.principal,
            // What is called by no known name may be called anything.
            method: call.isKnownMethod ? context.method : "",
            outcome: outcome,
            reason: reason,
            // Without the port, so that denials of many connections are the same.
            peer: call.peer.host,
            customerID: customerID,
            cohort: cohort,
            sequence: sequence
        )
    }
}

import NIOCore
import Synchronization

/// What one principal has used of its rates, whatever connection or token it comes by.
final class RateBudget: Sendable {
    private let read = SharedGCRA()
    private let write = SharedGCRA()
    private let admin = SharedGCRA()
    private let operation = SharedGCRA()

    /// As ``GCRA/admit(at:limit:)``, by the schedule of the class.
    func admit(_ methodClass: MethodClass, at now: NIODeadline, limit: GCRA.Limit) -> Duration? {
        switch methodClass {
        case .read: read.admit(at: now, limit: limit)
        case .write: write.admit(at: now, limit: limit)
        case .admin: admin.admit(at: now, limit: limit)
        case .operator: operation.admit(at: now, limit: limit)
        }
    }

    /// Whether forgetting it forgives nothing.
    fileprivate func isIdle(at now: NIODeadline) -> Bool {
        read.isIdle(at: now) && write.isIdle(at: now) && admin.isIdle(at: now) && operation.isIdle(at: now)
    }
}

/// The budget of a principal once it is known: set once, read by every call.
struct RateBudgetSlot: ~Copyable, Sendable {
    // An address, 0 for none: AtomicLazyReference is not specialised, and looks its types up at each reading.
    private let address = Atomic<UInt>(0)

    deinit { Self.budget(address.load(ordering: .acquiring))?.release() }

    @inline(__always)
    func load() -> RateBudget? { Self.budget(address.load(ordering: .acquiring))?.takeUnretainedValue() }

    /// What this makes of the budget, without a retain; nil where there is none yet.
    @inline(__always)
    func with<Result>(_ body: (RateBudget) -> Result) -> Result? {
        Self.budget(address.load(ordering: .acquiring))?._withUnsafeGuaranteedRef(body)
    }

    /// The budget that stays: this one, or that of who came first.
    func storeIfNil(_ budget: RateBudget) -> RateBudget {
        let own = Unmanaged.passRetained(budget)
        let (isStored, _) = address.compareExchange(
            expected: 0,
            desired: UInt(bitPattern: own.toOpaque()),
            ordering: .acquiringAndReleasing
        )
        if isStored { return budget }
        own.release()
        return load() ?? budget
    }

    @inline(__always)
    private static func budget(_ address: UInt) -> Unmanaged<RateBudget>? {
        UnsafeRawPointer(bitPattern: address).map { .fromOpaque($0) }
    }
}

/// The budgets of all principals. A `Principal` remembers its own: the look-up by name is made once for each of them, not for
/// each call.
final class RateLimiter: Sendable {
    private struct State {
        var budgets: [String: RateBudget] = [:]
        /// Nothing is idle before then: looking again would cost every new principal a walk over all.
        var sweepAt = NIODeadline.distantPast
    }

    private let maximumPrincipals: Int
    private let state = Mutex(State())
    /// Of those who found no place.
    private let others = RateBudget()

    init(maximumPrincipals: Int) { self.maximumPrincipals = maximumPrincipals }

    var count: Int { state.withLock { $0.budgets.count } }

    func budget(of principal: Principal, at now: NIODeadline) -> RateBudget {
        if let budget = principal.rateBudget.load() { return budget }
        let (found, isOwn) = find(principal, at: now)
        // One that shares may find a place later.
        return isOwn ? principal.rateBudget.storeIfNil(found) : found
    }

    private func find(_ principal: Principal, at now: NIODeadline) -> (RateBudget, isOwn: Bool) {
        let hasToken = if case .token = principal.source { true } else { false }
        let key = (hasToken ? "token " : "certificate ") + principal.name
        return state.withLock { state in
            if let budget = state.budgets[key] { return (budget, true) }
            if state.budgets.count >= maximumPrincipals {
                guard now >= state.sweepAt else { return (others, false) }
                state.sweepAt = now + .seconds(1)
                // One that somebody holds would be doubled if it were made again.
                for name in Array(state.budgets.keys) {
                    guard var budget = state.budgets.removeValue(forKey: name) else { continue }
                    if !isKnownUniquelyReferenced(&budget) || !budget.isIdle(at: now) { state.budgets[name] = budget }
                }
                guard state.budgets.count < maximumPrincipals else { return (others, false) }
            }
            let budget = RateBudget()
            state.budgets[key] = budget
            return (budget, true)
        }
    }
}

/// Limits how often a principal calls, by class of method (GCRA); RESOURCE_EXHAUSTED with RetryInfo beyond.
struct RateLimitInterceptor: ServerInterceptor {
    private let limiter: RateLimiter
    private let configuration: OverloadConfiguration
    private let statistics: OverloadStatistics
    private let classify: OverloadControl.Classifier

    init(
        limiter: RateLimiter,
        _ configuration: OverloadConfiguration,
        _ statistics: OverloadStatistics,
        _ classify: @escaping OverloadControl.Classifier
    ) {
        self.limiter = limiter
        self.configuration = configuration
        self.statistics = statistics
        self.classify = classify
    }

    func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)? {
        guard let methodClass = classify(method), let limit = configuration.rates[methodClass] else { return nil }
        return MethodRateLimit(
            methodClass: methodClass,
            limit: limit,
            isDryRun: configuration.mode == .dryRun,
            limiter: limiter,
            statistics: statistics,
            errors: Self.errors(methodClass, limit, configuration.errorDomain)
        )
    }

    /// Methods that the server does not have cost it little.
    func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision { .proceed }

    private static func errors(_ methodClass: MethodClass, _ limit: GCRA.Limit, _ domain: String) -> PushbackErrors {
        let perSecond = 1e9 / Double(limit.interval)
        let rate = perSecond >= 1 ? String(Int(perSecond)) : "\(perSecond)"
        let message =
            "more \(methodClass.rawValue) calls than the \(rate) a second, \(limit.burst) at once, that a caller may make; "
            + "slow down"
        let window = max(1, Double(limit.burst) / perSecond)
        return PushbackErrors { wait in
            var error = RPCError(.resourceExhausted, message)
                .withErrorInfo(reason: "RATE_LIMITED", domain: domain, metadata: ["class": methodClass.rawValue])
                .withQuotaFailure(subject: "principal", description: message)
                .withPushback(wait)
            // draft-ietf-httpapi-ratelimit-headers; whole seconds.
            error.metadata.add("\"\(methodClass.rawValue)\";q=\(limit.burst);w=\(Int(window))", for: "ratelimit-policy")
            let seconds = max(1, Int((wait / .seconds(1)).rounded(.up)))
            error.metadata.add("\"\(methodClass.rawValue)\";r=0;t=\(seconds)", for: "ratelimit")
            return error
        }
    }
}

private struct MethodRateLimit: ServerInterceptor {
    let methodClass: MethodClass
    let limit: GCRA.Limit
    let isDryRun: Bool
    let limiter: RateLimiter
    let statistics: OverloadStatistics
    let errors: PushbackErrors

    var hooks: InterceptorHooks { InterceptorHooks(begin: { call throws(RPCError) in try begin(call) }) }

    func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        guard let principal = call.principal else { return .proceed }
        let wait =
            principal.rateBudget.with { $0.admit(methodClass, at: call.receivedAt, limit: limit) }
            ?? limiter.budget(of: principal, at: call.receivedAt)
            .admit(methodClass, at: call.receivedAt, limit: limit)
        guard let wait else { return .proceed }
        statistics.rejected("rate_limit")
        if isDryRun { return .proceed }
        throw errors[wait]
    }
}

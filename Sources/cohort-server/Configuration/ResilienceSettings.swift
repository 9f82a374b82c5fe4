import CohortAPI
import RPC
import ServiceSettings

/// What the server does when its store fails, and when it is asked for more than it can do.
extension SettingsReader {
    func breaker() throws -> CircuitBreaker.Policy {
        var policy = CircuitBreaker.Policy()
        policy.window = try whole("breaker.window")
        policy.minimumCalls = try whole("breaker.calls")
        policy.failureRatePercent = try whole("breaker.failure.percent")
        policy.slowCallRatePercent = try whole("breaker.slow.percent")
        policy.slowCall = try seconds("breaker.slow.seconds")
        let row = try whole("breaker.failures.row")
        policy.consecutiveFailures = row == 0 ? nil : row
        policy.openTime = try seconds("breaker.open.seconds")
        policy.halfOpenPermits = try whole("breaker.trials")
        return policy
    }

    func overload() throws -> OverloadConfiguration {
        var overload = OverloadConfiguration()
        overload.mode = OverloadConfiguration.Mode(rawValue: try word("overload.mode") ?? "on") ?? .on
        overload.errorDomain = CohortRelease.errorDomain
        for methodClass in MethodClass.allCases {
            let rate = try whole("limits.rate.\(methodClass.rawValue).calls")
            let burst = try whole("limits.rate.\(methodClass.rawValue).burst")
            overload.rates[methodClass] = rate == 0 ? nil : GCRA.Limit(perSecond: Double(rate), burst: burst)
        }
        overload.maximumPrincipals = try whole("limits.rate.principals")
        overload.concurrency.limit.minimum = try whole("limits.concurrency.minimum")
        overload.concurrency.limit.maximum = try whole("limits.concurrency.maximum")
        guard overload.concurrency.limit.minimum <= overload.concurrency.limit.maximum else {
            throw SettingsError(
                "--limits-concurrency-minimum is more than --limits-concurrency-maximum; lower the one or raise the other"
            )
        }
        overload.concurrency.capacity = try whole("limits.calls.queue.length")
        overload.concurrency.longestWait = try seconds("limits.calls.queue.seconds")
        overload.shedding.target = try seconds("limits.lag.seconds")
        return overload
    }
}

extension Setting {
    /// In the order of `--help`.
    static let resilience: [Setting] = [
        Setting(
            "breaker.window",
            .whole(1...10_000, default: 100),
            "latest calls of the store by which its circuit breakers judge"
        ),
        Setting("breaker.calls", .whole(1...10_000, default: 100), "calls from which on a rate of them counts"),
        Setting("breaker.failure.percent", .whole(1...100, default: 50), "failed calls that open a breaker"),
        Setting("breaker.slow.percent", .whole(1...100, default: 100), "slow calls that open a breaker"),
        Setting("breaker.slow.seconds", .seconds(0.001...600, default: 60), "time from which on a call is slow"),
        Setting(
            "breaker.failures.row",
            .whole(0...10_000, default: 5),
            "failed calls in a row that open a breaker; 0 for any number"
        ),
        Setting("breaker.open.seconds", .seconds(0.1...3_600, default: 30), "time that a breaker stays open"),
        Setting("breaker.trials", .whole(1...1_000, default: 10), "calls then tried before it closes or opens again"),
        Setting(
            "overload.mode",
            .word(OverloadConfiguration.Mode.allCases.map(\.rawValue), default: "on"),
            "whether calls over the limits are refused, or only counted"
        ),
        Setting(
            "limits.rate.read.calls",
            .whole(0...1_000_000_000, default: 1_000_000),
            "reads a second of one caller; 0 for any number"
        ),
        Setting("limits.rate.read.burst", .whole(1...1_000_000_000, default: 1_000_000), "reads of one caller at once"),
        Setting(
            "limits.rate.write.calls",
            .whole(0...1_000_000_000, default: 200_000),
            "writes a second of one caller, a batch counting once; 0 for any number"
        ),
        Setting("limits.rate.write.burst", .whole(1...1_000_000_000, default: 200_000), "writes of one caller at once"),
        Setting(
            "limits.rate.admin.calls",
            .whole(0...1_000_000_000, default: 1_000),
            "administrative calls a second of one caller; 0 for any number"
        ),
        Setting(
            "limits.rate.admin.burst",
            .whole(1...1_000_000_000, default: 1_000),
            "such calls of one caller at once"
        ),
        Setting(
            "limits.rate.operator.calls",
            .whole(0...1_000_000_000, default: 1_000),
            "calls of an operator or auditor a second; 0 for any number"
        ),
        Setting(
            "limits.rate.operator.burst",
            .whole(1...1_000_000_000, default: 1_000),
            "such calls of one caller at once"
        ),
        Setting(
            "limits.rate.principals",
            .whole(1...10_000_000, default: 10_000),
            "callers whose rates are counted apart; those beyond share one budget"
        ),
        Setting(
            "limits.concurrency.maximum",
            .whole(1...1_000_000, default: 8_192),
            "reads, and writes, that run in tasks at once; fewer when they get slow"
        ),
        Setting("limits.concurrency.minimum", .whole(1...1_000_000, default: 16), "what that never falls below"),
        Setting(
            "limits.calls.queue.length",
            .whole(0...1_000_000, default: 1_024),
            "reads, and writes, that wait to be run"
        ),
        Setting("limits.calls.queue.seconds", .seconds(0.01...60, default: 1), "time that they wait"),
        Setting(
            "limits.lag.seconds",
            .seconds(0.001...10, default: 0.05),
            "time that an event loop may be late before calls it answers are shed"
        ),
    ]
}

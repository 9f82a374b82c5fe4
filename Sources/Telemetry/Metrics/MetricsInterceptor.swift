import NIOCore
package import RPC
import Synchronization

/// Records `rpc.server.call.duration`: each call from the moment its request was read to the moment it ended.
///
/// Attributes are those of OpenTelemetry: `rpc.system.name`, `rpc.method` (`_OTHER` for one that the server does not have),
/// `rpc.response.status_code`, and `error.type` for calls that failed.
package struct MetricsInterceptor: ServerInterceptor {
    package static let metric = "rpc.server.call.duration"

    private let registry: MetricsRegistry
    private let calls: CallDurations

    package init(_ registry: MetricsRegistry) { self.init(registry, method: "_OTHER") }

    private init(_ registry: MetricsRegistry, method: String) {
        self.registry = registry
        calls = CallDurations(registry, method: method)
    }

    /// One that has the method's series at hand.
    package func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)? { bound(to: method) }

    func bound(to method: MethodDescriptor) -> MetricsInterceptor {
        MetricsInterceptor(registry, method: method.fullName)
    }

    /// Every call passes.
    package func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision { .proceed }

    /// Records it.
    package func end(_ call: ServerCall, _ outcome: CallOutcome) {
        let duration = (call.ended() - call.receivedAt).nanoseconds
        let span = call.span == nil ? nil : call.traced
        calls.with(outcome.code) { series in
            if let span, span.context.isSampled {
                series.record(ticks: duration, in: span.context)
            } else {
                series.record(ticks: duration)
            }
        }
    }
}

/// The series of one method by status code, made when a call first ends so.
final class CallDurations: @unchecked Sendable {
    // Unchecked: the pointer never changes, and what it points to are atomics.
    private static let codes = RPCError.Code.all.count

    private let registry: MetricsRegistry
    private let method: String
    // Addresses, 0 for none: AtomicLazyReference is not specialised, and looks its types up at each reading.
    private let series: UnsafeMutablePointer<Atomic<UInt>>

    init(_ registry: MetricsRegistry, method: String) {
        self.registry = registry
        self.method = method
        series = .allocate(capacity: Self.codes)
        for code in 0..<Self.codes { (series + code).initialize(to: Atomic(0)) }
    }

    deinit {
        for code in 0..<Self.codes { instrument(series[code].load(ordering: .acquiring))?.release() }
        series.deinitialize(count: Self.codes)
        series.deallocate()
    }

    /// Runs this with the series of a code.
    @inline(__always)
    func with(_ code: RPCError.Code, _ body: (HistogramInstrument) -> Void) {
        let known = instrument(series[code.rawValue].load(ordering: .acquiring)) ?? make(code)
        known._withUnsafeGuaranteedRef(body)
    }

    @inline(__always)
    private func instrument(_ address: UInt) -> Unmanaged<HistogramInstrument>? {
        UnsafeRawPointer(bitPattern: address).map { .fromOpaque($0) }
    }

    private func make(_ code: RPCError.Code) -> Unmanaged<HistogramInstrument> {
        var attributes = [
            ("rpc.system.name", "ttrpc"), ("rpc.method", method), ("rpc.response.status_code", "\(code)"),
        ]
        if code != .ok { attributes.append(("error.type", "\(code)")) }
        // Whoever makes it at the same time is given the same one, and keeps it once more than needed.
        let made = Unmanaged.passRetained(registry.duration(MetricsInterceptor.metric, attributes))
        series[code.rawValue].store(UInt(bitPattern: made.toOpaque()), ordering: .releasing)
        return made
    }
}

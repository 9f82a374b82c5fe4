package import RPC

/// Traces, measures and logs calls: the three interceptors as one, so that a call meets one interceptor instead of three.
package struct CallTelemetry: ServerInterceptor {
    private let tracing: TracingInterceptor
    private let metrics: MetricsInterceptor
    private let accessLog: AccessLogInterceptor

    package init(_ tracing: TracingInterceptor, _ metrics: MetricsInterceptor, _ accessLog: AccessLogInterceptor) {
        self.tracing = tracing
        self.metrics = metrics
        self.accessLog = accessLog
    }

    /// One whose parts know the method.
    package func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)? {
        CallTelemetry(tracing.bound(to: method), metrics.bound(to: method), accessLog.bound(to: method))
    }

    package var hooks: InterceptorHooks {
        InterceptorHooks(begin: { call throws(RPCError) in try begin(call) }, end: { end($0, $1) })
    }

    /// Decides whether the call is traced. The others have nothing to do yet.
    package func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision { try tracing.begin(call) }

    /// Logs, records, and hands on the span that those have named.
    package func end(_ call: ServerCall, _ outcome: CallOutcome) {
        accessLog.end(call, outcome)
        metrics.end(call, outcome)
        tracing.end(call, outcome)
    }
}

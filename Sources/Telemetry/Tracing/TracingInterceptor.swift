import NIOCore
package import RPC

/// Makes spans of calls: of those of sampled traces, and of every other one that fails.
///
/// Whether a trace is sampled is what `traceparent` says; where there is none, chance decides. A call that is not sampled
/// costs that decision and nothing more.
package struct TracingInterceptor: ServerInterceptor {
    private let tracer: SpanTracer
    private let name: String

    package init(_ tracer: SpanTracer) { self.init(tracer, name: "_OTHER") }

    private init(_ tracer: SpanTracer, name: String) {
        self.tracer = tracer
        self.name = name
    }

    /// One that knows the method's name.
    package func specialized(for method: MethodDescriptor) -> (any ServerInterceptor)? { bound(to: method) }

    func bound(to method: MethodDescriptor) -> TracingInterceptor { TracingInterceptor(tracer, name: method.fullName) }

    /// Every call passes.
    package func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
        let parent = call.metadata.isEmpty ? nil : call.metadata.traceParent
        let isSampled =
            parent?.isSampled ?? tracer.sampler.chooses(call.receivedAt.uptimeNanoseconds, UInt64(call.id))
        if isSampled { call.span = tracer.span(of: call, parent, isSampled: true) }
        return .proceed
    }

    /// Hands on the span, where there is one or the call has failed.
    package func end(_ call: ServerCall, _ outcome: CallOutcome) {
        guard outcome.error != nil || call.span != nil else { return }
        let span = call.traced
        guard outcome.error != nil || span?.context.isSampled == true, tracer.buffer.reserve() else { return }
        tracer.buffer.addReserved(record(call, span ?? tracer.span(of: call), outcome))
    }

    private func record(_ call: ServerCall, _ span: ServerSpan, _ outcome: CallOutcome) -> SpanRecord {
        let now = WallClock.now()
        let duration = UInt64(max(0, (call.ended() - call.receivedAt).nanoseconds))
        var attributes: [(String, SpanRecord.Value)] = [
            ("rpc.system.name", .text("ttrpc")), ("rpc.method", .text(name)),
            ("rpc.response.status_code", .text("\(outcome.code)")), ("client.address", .text(call.peer.host)),
        ]
        var failure: String?
        if let error = outcome.error {
            attributes.append(("error.type", .text("\(error.code)")))
            // Never the message: it may say what the caller has sent.
            failure = error.errorInfo?.reason ?? "\(error.code)"
        }
        return SpanRecord(
            context: span.context,
            parent: span.parent,
            name: name,
            kind: .server,
            start: now - min(now, duration),
            end: now,
            attributes: attributes,
            failure: failure
        )
    }
}

extension SpanTracer {
    /// The span of a call that nobody has sampled: for what is told of it all the same.
    func span(of call: ServerCall) -> ServerSpan {
        span(of: call, call.metadata.isEmpty ? nil : call.metadata.traceParent, isSampled: false)
    }

    fileprivate func span(of call: ServerCall, _ parent: TraceContext?, isSampled: Bool) -> ServerSpan {
        let context = TraceContext(
            traceID: parent?.traceID ?? .random(),
            spanID: .random(),
            isSampled: isSampled,
            state: parent == nil ? "" : TraceState.combined(call.metadata.values(for: TraceContext.stateHeader))
        )
        return ServerSpan(context, parent: parent?.spanID, tracer: self)
    }
}

extension Metadata {
    /// The caller's span; nil where it does not say, or says it wrongly or twice.
    fileprivate var traceParent: TraceContext? {
        var found: Int?
        for index in indices where self[index].key == TraceContext.parentHeader {
            guard found == nil else { return nil }
            found = index
        }
        return found.flatMap { TraceContext(parent: self[$0].value) }
    }
}

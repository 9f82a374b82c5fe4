package import RPC
package import SwiftProtobuf
import Tracing

/// Makes calls through another transport, each in a span of its own that the server is told of as its parent.
///
/// The span of a stream ends when the stream is open, not when its last message has come.
package struct TracingTransport: CallTransport {
    private let base: any CallTransport
    private let tracer: SpanTracer

    package init(_ base: any CallTransport, tracer: SpanTracer) {
        self.base = base
        self.tracer = tracer
    }

    private func traced<Result>(
        _ method: MethodDescriptor,
        _ options: CallOptions,
        _ body: (CallOptions) async throws(RPCError) -> Result
    ) async throws(RPCError) -> Result {
        let span = tracer.startSpan(
            method.fullName,
            context: ServiceContext.current ?? .topLevel,
            ofKind: .client,
            at: DefaultTracerClock.now,
            function: #function,
            file: #fileID,
            line: #line
        )
        defer { span.end(at: DefaultTracerClock.now) }
        span.attributes["rpc.system.name"] = "ttrpc"
        span.attributes["rpc.method"] = method.fullName
        var options = options
        tracer.inject(span.context, into: &options.metadata, using: MetadataInjector())
        do throws(RPCError) {
            let result = try await body(options)
            span.attributes["rpc.response.status_code"] = "OK"
            return result
        } catch {
            span.attributes["rpc.response.status_code"] = "\(error.code)"
            span.attributes["error.type"] = "\(error.code)"
            span.setStatus(SpanStatus(code: .error, message: error.errorInfo?.reason ?? "\(error.code)"))
            throw error
        }
    }

    package func unary<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions
    ) async throws(RPCError) -> Response {
        try await traced(method, options) { (options) async throws(RPCError) in
            try await base.unary(method, request, options)
        }
    }

    package func serverStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ request: Request,
        _ options: CallOptions
    ) async throws(RPCError) -> ResponseStream<Response> {
        try await traced(method, options) { (options) async throws(RPCError) in
            try await base.serverStream(method, request, options)
        }
    }

    package func clientStream<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions
    ) async throws(RPCError) -> ClientStreamCall<Request, Response> {
        try await traced(method, options) { (options) async throws(RPCError) in
            try await base.clientStream(method, options)
        }
    }

    package func bidirectional<Request: Message, Response: Message>(
        _ method: MethodDescriptor,
        _ options: CallOptions
    ) async throws(RPCError) -> BidirectionalCall<Request, Response> {
        try await traced(method, options) { (options) async throws(RPCError) in
            try await base.bidirectional(method, options)
        }
    }
}

private struct MetadataInjector: Injector {
    func inject(_ value: String, forKey key: String, into carrier: inout Metadata) { carrier[key] = value }
}

import Foundation
import Logging
import RPC
import SwiftProtobuf
import Synchronization
import Tracing

@testable import Telemetry

typealias Text = Google_Protobuf_StringValue

extension Text {
    init(_ value: String) {
        self.init()
        self.value = value
    }
}

/// Methods that end as their names say.
struct ProbeService: RegistrableService {
    enum Methods {
        static let succeed = MethodDescriptor(service: "test.v1.Probe", method: "Succeed", kind: .unary)
        static let refuse = MethodDescriptor(service: "test.v1.Probe", method: "Refuse", kind: .unary)
        static let fail = MethodDescriptor(service: "test.v1.Probe", method: "Fail", kind: .unary)
        static let work = MethodDescriptor(service: "test.v1.Probe", method: "Work", kind: .unary)
        static let absent = MethodDescriptor(service: "test.v1.Probe", method: "Absent", kind: .unary)
    }

    struct Cause: Error { var secret: String }

    var tracer: SpanTracer?

    func register(with router: inout Router) {
        router.inline(Methods.succeed) { (request: Text, _) throws(RPCError) -> InlineResult<Text> in .reply(request) }
        router.inline(Methods.refuse) { (request: Text, _) throws(RPCError) -> InlineResult<Text> in
            throw RPCError(.notFound, "no \(request.value)").withErrorInfo(reason: "NOPE", domain: "test")
        }
        router.inline(Methods.fail) { (request: Text, _) throws(RPCError) -> InlineResult<Text> in
            throw RPCError(.internalError, "broke at \(request.value)", cause: Cause(secret: request.value))
        }
        router.unary(Methods.work) { [tracer] (request: Text, _) async throws(RPCError) -> Text in
            guard let context = ServiceContext.current, let tracer else { return request }
            let span = tracer.startSpan(
                "work",
                context: context,
                ofKind: .internal,
                at: DefaultTracerClock.now,
                function: "",
                file: "",
                line: 0
            )
            span.end()
            return request
        }
    }
}

/// Calls the probe through interceptors, and waits until those have seen the end of the call.
struct Probe: Sendable {
    /// The outermost interceptor, whose end comes last.
    private struct Ends: ServerInterceptor {
        let ended: AsyncStream<Void>.Continuation

        func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision { .proceed }
        func end(_ call: ServerCall, _ outcome: CallOutcome) { ended.yield() }
    }

    private let transport: any CallTransport
    private let ends: AsyncStream<Void>

    init(
        _ interceptors: [any ServerInterceptor],
        tracer: SpanTracer? = nil,
        wrapped: (InProcessClient) -> any CallTransport = { $0 }
    ) {
        let (ends, ended) = AsyncStream.makeStream(of: Void.self)
        self.ends = ends
        let client = InProcessClient(
            services: [ProbeService(tracer: tracer)],
            interceptors: [Ends(ended: ended)] + interceptors,
            peer: Peer(address: "192.0.2.7:5", host: "192.0.2.7")
        )
        transport = wrapped(client)
    }

    /// The status code that the call ends with.
    @discardableResult
    func code(
        _ method: MethodDescriptor,
        _ text: String = "x",
        _ metadata: Metadata = Metadata()
    ) async -> RPCError.Code {
        var options = CallOptions.defaults
        options.metadata = metadata
        let code: RPCError.Code
        do throws(RPCError) {
            let _: Text = try await transport.unary(method, Text(text), options)
            code = .ok
        } catch { code = error.code }
        var iterator = ends.makeAsyncIterator()
        await iterator.next()
        return code
    }
}

/// Keeps what is logged.
final class LogRecorder: Sendable {
    struct Line: Sendable {
        let level: Logger.Level
        let message: String
        let metadata: [String: String]
    }

    private let recorded = Mutex<[Line]>([])

    var lines: [Line] { recorded.withLock { $0 } }

    var logger: Logger {
        var logger = Logger(label: "test") { _ in Handler(recorder: self) }
        logger.logLevel = .trace
        return logger
    }

    private struct Handler: LogHandler {
        let recorder: LogRecorder
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let fields = (event.metadata ?? [:]).mapValues { "\($0)" }
            let line = Line(level: event.level, message: event.message.description, metadata: fields)
            recorder.recorded.withLock { $0.append(line) }
        }
    }
}

/// Runs this on as many threads at once, more than there are processors, and waits for all.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let done = DispatchGroup()
    for number in 0..<count {
        done.enter()
        Thread {
            body(number)
            done.leave()
        }.start()
    }
    done.wait()
}

import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import OTLP
import SwiftProtobuf
import Synchronization

/// A collector of OTLP/HTTP on loopback that answers as it is told. What it gets is read by OpenTelemetry's own messages for
/// Python.
final class TestCollector: Sendable {
    enum Behaviour: Sendable {
        case takes
        /// A status, with a `Retry-After`.
        case status(Int, retryAfter: String?)
        /// 200 and a page for people.
        case garbage
        /// 200, and so many items rejected.
        case rejects(Int64)
        /// 200, and a body without an end.
        case flood
        /// What is no HTTP.
        case noise
        /// No answer.
        case silent
    }

    private enum Reply {
        case answer(HTTPResponseStatus, [(String, String)], Data)
        case flood
        case noise
        case silent
    }

    struct Request: Sendable {
        var path: String
        var headers: [(String, String)]
        var body: Data
        /// Whether it was answered with success.
        var isTaken: Bool

        func header(_ name: String) -> String? { headers.first { $0.0.lowercased() == name }?.1 }
    }

    private struct State {
        var behaviour = Behaviour.takes
        var requests: [Request] = []
    }

    private let state = Mutex(State())
    private let channel = Mutex<(any Channel)?>(nil)
    private let connections = Mutex<[any Channel]>([])
    private let directory: TemporaryDirectory
    let port: Int

    /// - Parameter port: 0 lets the system choose.
    init(port: Int = 0) async throws {
        directory = try TemporaryDirectory()
        let box = Box()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(box))
                    box.collector.withLock { $0 }()?.connections.withLock { $0.append(channel) }
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        self.port = channel.localAddress?.port ?? 0
        self.channel.withLock { $0 = channel }
        box.collector.withLock { [weak self] in $0 = { self } }
    }

    deinit { channel.withLock { $0 }?.close(promise: nil) }

    var endpoint: String { "http://127.0.0.1:\(port)" }
    var requests: [Request] { state.withLock { $0.requests } }
    func behave(_ behaviour: Behaviour) { state.withLock { $0.behaviour = behaviour } }

    /// Gone, with its connections: what is under way has no answer and is not taken.
    func stop() async throws {
        behave(.silent)
        try await channel.withLock { $0 }?.close()
        for connection in connections.withLock({ $0 }) { try? await connection.close() }
    }

    private func got(_ head: HTTPRequestHead, _ body: Data) -> Reply {
        state.withLock { state in
            var isTaken = false
            defer {
                state.requests.append(
                    Request(
                        path: head.uri,
                        headers: head.headers.map { ($0.name, $0.value) },
                        body: body,
                        isTaken: isTaken
                    )
                )
            }
            let type = [("Content-Type", "application/x-protobuf")]
            switch state.behaviour {
            case .takes:
                isTaken = true
                return .answer(.ok, type, Data())
            case .status(let status, let after):
                return .answer(.init(statusCode: status), after.map { [("Retry-After", $0)] } ?? [], Data("no".utf8))
            case .garbage: return .answer(.ok, [("Content-Type", "text/html")], Data("<html>welcome</html>".utf8))
            case .rejects(let count):
                isTaken = true
                let body =
                    head.uri == "/v1/traces"
                    ? try? OTLPExportTraceServiceResponse.with {
                        $0.partialSuccess.rejectedSpans = count; $0.partialSuccess.errorMessage = "not these"
                    }.serializedData()
                    : try? OTLPExportMetricsServiceResponse.with {
                        $0.partialSuccess.rejectedDataPoints = count; $0.partialSuccess.errorMessage = "not these"
                    }.serializedData()
                return .answer(.ok, type, body ?? Data())
            case .flood: return .flood
            case .noise: return .noise
            case .silent: return .silent
            }
        }
    }

    // MARK: Decoding

    /// What it has taken, decoded: spans and metrics.
    func decoded() async throws -> (spans: [(service: String, span: OTLPSpan)], metrics: [OTLPMetricsData]) {
        var files: [String] = []
        for (number, request) in requests.enumerated() where request.isTaken {
            let kind = request.path == "/v1/traces" ? "traces" : "metrics"
            let gzip = request.header("content-encoding") == "gzip" ? ".gz" : ""
            let file = directory.file("\(number).\(kind)\(gzip)")
            try request.body.write(to: URL(fileURLWithPath: file))
            files.append(file)
        }
        let python = repositoryFile(".build/tools/venv/bin/python")
        let decoder = try RunningProgram(
            URL(fileURLWithPath: python),
            [repositoryFile("Tests/EndToEndTests/OTLPDecoder/decode.py")] + files
        )
        guard try await decoder.wait() == 0 else { throw HarnessError("not OTLP: \(decoder.errors)") }
        let lines = decoder.output.split(separator: "\n").map(String.init)
        var spans: [(String, OTLPSpan)] = []
        var metrics: [OTLPMetricsData] = []
        for (file, line) in zip(files, lines) {
            // The JSON of protobuf writes ids in Base64, as the messages here read them.
            guard file.contains(".traces") else {
                let request = try OTLPExportMetricsServiceRequest(jsonString: line)
                metrics.append(.with { $0.resourceMetrics = request.resourceMetrics })
                continue
            }
            for resource in try OTLPExportTraceServiceRequest(jsonString: line).resourceSpans {
                let service = resource.resource.attributes.first { $0.key == "service.name" }?.value.stringValue ?? ""
                spans += resource.scopeSpans.flatMap(\.spans).map { (service, $0) }
            }
        }
        return (spans, metrics)
    }

    private final class Box: Sendable {
        let collector = Mutex<@Sendable () -> TestCollector?>({ nil })
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        private let box: Box
        private var head: HTTPRequestHead?
        private var body = Data()

        init(_ box: Box) { self.box = box }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head):
                self.head = head
                body = Data()
            case .body(let bytes): body += Data(bytes.readableBytesView)
            case .end:
                guard let head, let collector = box.collector.withLock({ $0 })() else { return }
                reply(context, collector.got(head, body))
            }
        }

        private func reply(_ context: ChannelHandlerContext, _ reply: Reply) {
            func begin(_ status: HTTPResponseStatus, _ headers: [(String, String)]) {
                let head = HTTPResponseHead(version: .http1_1, status: status, headers: HTTPHeaders(headers))
                context.write(wrapOutboundOut(.head(head)), promise: nil)
            }
            switch reply {
            case .answer(let status, let headers, let answer):
                begin(status, headers + [("Content-Length", "\(answer.count)")])
                context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: answer)))), promise: nil)
                context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            case .flood:
                begin(.ok, [("Content-Type", "application/x-protobuf")])
                let part = ByteBuffer(repeating: 0x0A, count: 1 << 20)
                for _ in 0..<16 { context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(part))), promise: nil) }
            case .noise:
                // Beside what makes HTTP of it.
                let encoder = try? context.pipeline.syncOperations.context(handlerType: HTTPResponseEncoder.self)
                encoder?.writeAndFlush(NIOAny(ByteBuffer(string: "220 mail.example ESMTP\r\n")), promise: nil)
            case .silent: break
            }
        }
    }
}

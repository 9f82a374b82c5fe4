import SwiftProtobuf
import SwiftProtobufPluginLibrary

/// A method as the generated Swift code names and types it.
struct Method {
    let name: String
    let swiftName: String
    let comment: String
    let kind: String
    let isIdempotent: Bool
    private let isInline: Bool
    private let input: String
    private let output: String

    /// - Throws: ``GenerationError`` when the method asks for an inline handler and streams.
    init(_ method: MethodDescriptor, namer: SwiftProtobufNamer) throws {
        name = method.name
        swiftName = NamingUtils.toLowerCamelCase(method.name)
        comment = method.protoSourceComments()
        input = namer.fullName(message: method.inputType)
        output = namer.fullName(message: method.outputType)
        isIdempotent = method.options.idempotencyLevel != .idempotencyUnknown
        isInline = method.options.TTRPC_V1_handler == .inline
        kind =
            switch (method.clientStreaming, method.serverStreaming) {
            case (false, false): "unary"
            case (false, true): "serverStreaming"
            case (true, false): "clientStreaming"
            case (true, true): "bidirectional"
            }
        if isInline && kind != "unary" {
            throw GenerationError(
                "\(method.fullName): HANDLER_KIND_INLINE is for unary methods; remove the option or the stream"
            )
        }
    }

    /// Whether the request or the response is one of the messages that come with SwiftProtobuf.
    var usesWellKnownTypes: Bool { uses(module: "SwiftProtobuf") }

    /// Whether the request or the response is a message of this module.
    func uses(module: String) -> Bool { input.hasPrefix(module + ".") || output.hasPrefix(module + ".") }

    /// The name of the method of `Router` that registers it.
    var registration: String {
        switch kind {
        case "unary": isInline ? "inline" : "unary"
        case "serverStreaming": "serverStream"
        case "clientStreaming": "clientStream"
        default: "bidirectional"
        }
    }

    /// The requirement in the handler protocol.
    var handlerSignature: String {
        switch kind {
        case "unary" where isInline:
            "func \(swiftName)(_ request: \(input), _ call: ServerCall) throws(RPCError) -> InlineResult<\(output)>"
        case "unary":
            "func \(swiftName)(_ request: \(input), _ call: ServerCall) async throws(RPCError) -> \(output)"
        case "serverStreaming":
            "func \(swiftName)(_ request: \(input), _ responses: ResponseWriter<\(output)>, _ call: ServerCall) async throws(RPCError)"
        case "clientStreaming":
            "func \(swiftName)(_ requests: RequestStream<\(input)>, _ call: ServerCall) async throws(RPCError) -> \(output)"
        default:
            "func \(swiftName)(_ requests: RequestStream<\(input)>, _ responses: ResponseWriter<\(output)>, _ call: ServerCall) async throws(RPCError)"
        }
    }

    /// The closure handed to the router.
    var registrationClosure: String {
        switch kind {
        case "unary" where isInline:
            "(request: \(input), call) throws(RPCError) in try self.\(swiftName)(request, call)"
        case "unary":
            "(request: \(input), call) async throws(RPCError) in try await self.\(swiftName)(request, call)"
        case "serverStreaming":
            "(request: \(input), responses: ResponseWriter<\(output)>, call) async throws(RPCError) in try await self.\(swiftName)(request, responses, call)"
        case "clientStreaming":
            "(requests: RequestStream<\(input)>, call) async throws(RPCError) in try await self.\(swiftName)(requests, call)"
        default:
            "(requests: RequestStream<\(input)>, responses: ResponseWriter<\(output)>, call) async throws(RPCError) in try await self.\(swiftName)(requests, responses, call)"
        }
    }

    /// The method of the client stub.
    var clientSignature: String {
        let options = "options: CallOptions = CallOptions()"
        let head = "func \(swiftName)("
        let throwing = "async throws(RPCError) ->"
        return switch kind {
        case "unary": "\(head)_ request: \(input), \(options)) \(throwing) \(output)"
        case "serverStreaming": "\(head)_ request: \(input), \(options)) \(throwing) ResponseStream<\(output)>"
        case "clientStreaming": "\(head)\(options)) \(throwing) ClientStreamCall<\(input), \(output)>"
        default: "\(head)\(options)) \(throwing) BidirectionalCall<\(input), \(output)>"
        }
    }

    /// The method of `CallTransport` that carries it.
    var transportCall: String { registration == "inline" ? "unary" : registration }

    var transportArguments: String {
        kind == "unary" || kind == "serverStreaming" ? ", request, options" : ", options"
    }
}

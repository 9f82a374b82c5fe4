import Foundation
import Testing

@Suite("protoc-gen-swift-ttrpc")
struct GeneratorTests {
    private static let proto = """
        syntax = "proto3";
        package shop.v1;
        import "ttrpc/v1/options.proto";
        message Question { string text = 1; }
        message Answer { string text = 1; }
        // Answers questions.
        service Shop {
          // At once.
          rpc Ask(Question) returns (Answer) { option (ttrpc.v1.handler) = HANDLER_KIND_INLINE; }
          rpc Listen(Question) returns (stream Answer);
          rpc Tell(stream Question) returns (Answer) { option idempotency_level = IDEMPOTENT; }
          rpc Talk(stream Question) returns (stream Answer);
        }
        """

    private func protoc(_ proto: String, options: String, _ directory: TemporaryDirectory) async throws
        -> RunningProgram
    {
        try directory.write("shop.proto", proto)
        let program = try RunningProgram(
            URL(fileURLWithPath: "/usr/bin/env"),
            [
                "protoc", "-I", directory.path, "-I", repositoryFile("Protos"),
                "--plugin=\(Programs.generator.path)", "--swift-ttrpc_out=\(directory.path)",
                "--swift-ttrpc_opt=\(options)", "shop.proto",
            ]
        )
        _ = try await program.wait()
        return program
    }

    @Test("Every kind of method gets a handler, a registration and a stub")
    func kinds() async throws {
        let directory = try TemporaryDirectory()
        let program = try await protoc(Self.proto, options: "Visibility=Package,RPCModule=Runtime", directory)
        let code = try String(contentsOfFile: directory.file("shop.ttrpc.swift"), encoding: .utf8)
        #expect(program.errors.isEmpty)
        for line in [
            "package import Runtime",
            "package protocol Shop_V1_ShopHandler: RegistrableService {",
            "/// Answers questions.", "    /// At once.",
            "service: service, method: \"Tell\", kind: .clientStreaming, isIdempotent: true)",
            "func ask(_ request: Shop_V1_Question, _ call: ServerCall) throws(RPCError) -> InlineResult<Shop_V1_Answer>",
            "router.inline(Shop_V1_ShopMethods.ask)", "router.serverStream(Shop_V1_ShopMethods.listen)",
            "router.clientStream(Shop_V1_ShopMethods.tell)", "router.bidirectional(Shop_V1_ShopMethods.talk)",
            "async throws(RPCError) -> ResponseStream<Shop_V1_Answer> {",
            "async throws(RPCError) -> BidirectionalCall<Shop_V1_Question, Shop_V1_Answer> {",
        ] {
            #expect(code.contains(line), "\(line) is missing in \(code)")
        }
    }

    @Test("An inline method that streams, and options that do not exist, are refused with what would be right")
    func refusals() async throws {
        let directory = try TemporaryDirectory()
        let streaming = Self.proto.replacing(
            "rpc Talk(stream Question) returns (stream Answer);",
            with: "rpc Talk(stream Question) returns (Answer) { option (ttrpc.v1.handler) = HANDLER_KIND_INLINE; }"
        )
        let inline = try await protoc(streaming, options: "Visibility=Public", directory)
        #expect(
            inline.errors.contains("shop.v1.Shop.Talk: HANDLER_KIND_INLINE is for unary methods"),
            "\(inline.errors)"
        )
        let visibility = try await protoc(Self.proto, options: "Visibility=Open", directory)
        #expect(visibility.errors.contains("Internal, Package or Public"), "\(visibility.errors)")
        let unknown = try await protoc(Self.proto, options: "Colour=Red", directory)
        #expect(unknown.errors.contains("unknown option 'Colour=Red'"), "\(unknown.errors)")
    }
}

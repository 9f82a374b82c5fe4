import SwiftProtobuf
import SwiftProtobufPluginLibrary

/// The protoc plug-in `protoc-gen-swift-ttrpc`: for every service of a .proto file it writes a handler protocol for
/// the server and a client stub, both on the `RPC` library. The messages come from protoc-gen-swift, into the same
/// module.
@main
struct Plugin: CodeGenerator {
    var supportedFeatures: [Google_Protobuf_Compiler_CodeGeneratorResponse.Feature] { [.proto3Optional] }

    var customOptionExtensions: [any AnyMessageExtension] { [TTRPC_V1_Extensions_handler] }

    var version: String? { "1.0.0" }

    func generate(
        files: [FileDescriptor],
        parameter: any CodeGeneratorParameter,
        protoCompilerContext: any ProtoCompilerContext,
        generatorOutputs: any GeneratorOutputs
    ) throws {
        let options = try Options(parameter.parsedPairs)
        for file in files where !file.services.isEmpty {
            var generator = ServiceFileGenerator(file: file, options: options)
            try generatorOutputs.add(
                fileName: Self.outputName(of: file.name),
                contents: try generator.generate()
            )
        }
    }

    /// `a/b/c.proto` becomes `a_b_c.ttrpc.swift`, beside the `a_b_c.pb.swift` of `FileNaming=PathToUnderscores`.
    static func outputName(of proto: String) -> String {
        let stem = proto.hasSuffix(".proto") ? String(proto.dropLast(6)) : proto
        return String(stem.map { $0 == "/" ? "_" : $0 }) + ".ttrpc.swift"
    }
}

/// What the caller of protoc may say with `--swift-ttrpc_opt`.
struct Options {
    /// `Visibility=Internal|Package|Public`, `internal` by default.
    var visibility = "internal"
    /// `RPCModule=NAME`: the module that holds the runtime, `RPC` by default.
    var runtimeModule = "RPC"

    init(_ pairs: [(key: String, value: String)]) throws {
        for (key, value) in pairs {
            switch (key, value) {
            case ("Visibility", "Internal"), ("Visibility", "Package"), ("Visibility", "Public"):
                visibility = value.lowercased()
            case ("Visibility", _):
                throw GenerationError("Visibility is '\(value)'; it takes Internal, Package or Public")
            case ("RPCModule", _) where !value.isEmpty:
                runtimeModule = value
            default:
                throw GenerationError("unknown option '\(key)=\(value)'; there are Visibility and RPCModule")
            }
        }
    }
}

/// Why nothing was generated; protoc prints it.
struct GenerationError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

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
                fileName: options.fileNaming.outputName(of: file.name),
                contents: try generator.generate()
            )
        }
    }
}

/// How output files are named, as protoc-gen-swift's option of the same name.
enum FileNaming: String {
    /// `a/b/c.proto` gives `a/b/c.ttrpc.swift`.
    case fullPath = "FullPath"
    /// `a/b/c.proto` gives `a_b_c.ttrpc.swift`.
    case pathToUnderscores = "PathToUnderscores"
    /// `a/b/c.proto` gives `c.ttrpc.swift`.
    case dropPath = "DropPath"

    func outputName(of proto: String) -> String {
        let stem = proto.hasSuffix(".proto") ? proto.dropLast(6) : proto[...]
        let name =
            switch self {
            case .fullPath: String(stem)
            case .pathToUnderscores: String(stem.map { $0 == "/" ? "_" : $0 })
            case .dropPath: String(stem.split(separator: "/").last ?? stem)
            }
        return name + ".ttrpc.swift"
    }
}

/// What the caller of protoc may say with `--swift-ttrpc_opt`.
struct Options {
    /// `Visibility=Internal|Package|Public`, `internal` by default.
    var visibility = "internal"
    /// `RPCModule=NAME`: the module that holds the runtime, `RPC` by default.
    var runtimeModule = "RPC"
    /// `FileNaming=FullPath|PathToUnderscores|DropPath`, `FullPath` by default.
    var fileNaming = FileNaming.fullPath
    /// `ProtoPathModuleMappings=FILE`, as protoc-gen-swift's option of the same name: the modules of other messages.
    var modules = ProtoFileToModuleMappings()

    init(_ pairs: [(key: String, value: String)]) throws {
        for (key, value) in pairs {
            switch (key, value) {
            case ("Visibility", "Internal"), ("Visibility", "Package"), ("Visibility", "Public"):
                visibility = value.lowercased()
            case ("Visibility", _):
                throw GenerationError("Visibility is '\(value)'; it takes Internal, Package or Public")
            case ("RPCModule", _) where !value.isEmpty:
                runtimeModule = value
            case ("FileNaming", _):
                guard let naming = FileNaming(rawValue: value) else {
                    throw GenerationError(
                        "FileNaming is '\(value)'; it takes FullPath, PathToUnderscores or DropPath"
                    )
                }
                fileNaming = naming
            case ("ProtoPathModuleMappings", _):
                do { modules = try ProtoFileToModuleMappings(path: value) } catch {
                    throw GenerationError("ProtoPathModuleMappings: '\(value)' cannot be used: \(error)")
                }
            default:
                throw GenerationError(
                    "unknown option '\(key)=\(value)'; there are Visibility, FileNaming, RPCModule and "
                        + "ProtoPathModuleMappings"
                )
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

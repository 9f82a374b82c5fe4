// swift-tools-version: 6.2

import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .enableUpcomingFeature("ImmutableWeakCaptures"),
    .treatAllWarnings(as: .error),
]

let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
    .product(name: "NIOTLS", package: "swift-nio"),
    .product(name: "NIOSSL", package: "swift-nio-ssl"),
]

/// `scripts/fuzz` sets it: libFuzzer takes the place of the tests of RPC, whose support it shares, and RPC is built to tell
/// libFuzzer which ways were taken.
let isFuzzing = Context.environment["COHORT_FUZZ"] != nil

let rpcTestDependencies: [Target.Dependency] =
    nio + [
        "RPC",
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "JWTKit", package: "jwt-kit"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "MetricsTestKit", package: "swift-metrics"),
        .product(name: "NIOEmbedded", package: "swift-nio"),
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
        .product(name: "X509", package: "swift-certificates"),
    ]

let rpcTests: Target =
    isFuzzing
    ? .executableTarget(
        name: "rpc-fuzz",
        dependencies: rpcTestDependencies,
        path: "Tests/RPCTests",
        sources: ["LibFuzzer", "Support"],
        swiftSettings: settings,
        // gold fails on the debug information of the fuzzer's runtime.
        linkerSettings: [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])]
    )
    : .testTarget(
        name: "RPCTests",
        dependencies: rpcTestDependencies,
        exclude: ["LibFuzzer"],
        swiftSettings: settings
    )

let package = Package(
    name: "cohort",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "CEL", targets: ["CEL"]),
        .library(name: "RPC", targets: ["RPC"]),
        .library(name: "CohortAPI", targets: ["CohortAPI"]),
        .executable(name: "cohort-server", targets: ["cohort-server"]),
        .executable(name: "cohortctl", targets: ["cohortctl"]),
        .executable(name: "cohort-loadtest", targets: ["cohort-loadtest"]),
        .executable(name: "cohort-sidecar", targets: ["cohort-sidecar"]),
        .executable(name: "protoc-gen-swift-ttrpc", targets: ["protoc-gen-swift-ttrpc"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(
            url: "https://github.com/apple/swift-configuration",
            from: "1.4.0",
            traits: ["YAML", "CommandLineArguments"]
        ),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.4.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.5.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .target(name: "CEL", swiftSettings: settings),
        .testTarget(name: "CELTests", dependencies: ["CEL"], swiftSettings: settings),
        .executableTarget(name: "cel-bench", dependencies: ["CEL"], swiftSettings: settings),
        .target(
            name: "RPC",
            dependencies: nio + [
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "JWTKit", package: "jwt-kit"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings
                + (isFuzzing ? [.unsafeFlags(["-sanitize=fuzzer", "-enable-testing"])] : [])
        ),
        .target(name: "CPrefetch"),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .target(name: "CProcessor"),
        .target(
            name: "CohortCore",
            dependencies: [
                "CEL", "CPrefetch", .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
            ],
            swiftSettings: settings
        ),
        .target(name: "CohortPageChecks", linkerSettings: [.linkedLibrary("sqlite3")]),
        .target(
            name: "CohortSQLite",
            dependencies: [
                "CohortCore", "CohortPageChecks", .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "cohort-bench",
            dependencies: [
                "CohortAPI", "CohortCore", "CohortSQLite", "OTLP", "RPC", "Telemetry",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "OTLP",
            dependencies: [.product(name: "SwiftProtobuf", package: "swift-protobuf")],
            swiftSettings: settings
        ),
        .target(
            name: "Telemetry",
            dependencies: [
                "CProcessor", "OTLP", "RPC",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ServiceSettings",
            dependencies: [
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "SystemPackage", package: "swift-system"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "CohortAPI",
            dependencies: ["OTLP", "RPC", .product(name: "SwiftProtobuf", package: "swift-protobuf")],
            swiftSettings: settings
        ),
        .target(
            name: "CohortServices",
            dependencies: [
                "CohortAPI", "CohortCore", "OTLP", "RPC", "Telemetry",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "protoc-gen-swift-ttrpc",
            dependencies: [
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "SwiftProtobufPluginLibrary", package: "swift-protobuf"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "cohort-server",
            dependencies: [
                "CohortAPI", "CohortCore", "CohortSQLite", "CohortServices", "OTLP", "RPC", "ServiceSettings",
                "Telemetry",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "X509", package: "swift-certificates"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "cohortctl",
            dependencies: [
                "CEL", "CohortAPI", "OTLP", "RPC",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "cohort-sidecar",
            dependencies: [
                "CZlib", "CohortAPI", "OTLP", "RPC", "ServiceSettings", "Telemetry",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HummingbirdTLS", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOCertificateReloading", package: "swift-nio-extras"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            path: "sidecar",
            resources: [.embedInCode("Dashboard/page")],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "cohort-loadtest",
            dependencies: [
                "CohortAPI", "OTLP", "RPC",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "Yams", package: "Yams"),
            ],
            path: "loadtest",
            swiftSettings: settings
        ),
        rpcTests,
        .testTarget(
            name: "TelemetryTests",
            dependencies: [
                "OTLP", "RPC", "Telemetry",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "CohortSidecarTests",
            dependencies: [
                "CohortAPI", "OTLP", "RPC", "ServiceSettings", "Telemetry", "cohort-sidecar",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings
        ),
        .testTarget(name: "CohortCoreTests", dependencies: ["CEL", "CohortCore"], swiftSettings: settings),
        .target(name: "PowerLossVFS", path: "Tests/PowerLossVFS", linkerSettings: [.linkedLibrary("sqlite3")]),
        .target(
            name: "CrashTesting",
            dependencies: ["CohortCore"],
            path: "Tests/CrashTesting",
            swiftSettings: settings
        ),
        .executableTarget(
            name: "cohort-crash-worker",
            dependencies: ["CohortCore", "CohortSQLite", "CrashTesting"],
            path: "Tests/CrashWorker",
            swiftSettings: settings
        ),
        .testTarget(
            name: "CohortSQLiteTests",
            dependencies: [
                "CEL", "CohortCore", "CohortPageChecks", "CohortSQLite", "CrashTesting", "PowerLossVFS",
                "cohort-crash-worker", .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "CohortServicesTests",
            dependencies: [
                "CohortAPI", "CohortCore", "CohortServices", "OTLP", "RPC", "Telemetry",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "CohortctlTests",
            dependencies: [
                "CEL", "CohortAPI", "OTLP", "cohortctl", .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "CohortLoadTestTests",
            dependencies: [
                "RPC", "cohort-loadtest", .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            exclude: ["open_report.py"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "CohortServerTests",
            dependencies: [
                "CohortCore", "CohortServices", "OTLP", "RPC", "ServiceSettings", "Telemetry", "cohort-server",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "MetricsTestKit", package: "swift-metrics"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "cohort-loadtest-peer",
            dependencies: [
                "CohortAPI", "RPC",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            path: "Tests/LoadTestPeer",
            swiftSettings: settings
        ),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "CohortAPI", "CohortPageChecks", "CohortServices", "OTLP", "RPC", "Telemetry", "cohort-server",
                "cohort-loadtest",
                "cohort-loadtest-peer",
                "cohort-sidecar",
                "cohortctl",
                "protoc-gen-swift-ttrpc",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"),
                .product(name: "Yams", package: "Yams"),
            ],
            exclude: ["Dashboard", "GoClient", "OTLPDecoder"],
            swiftSettings: settings
        ),
    ]
)

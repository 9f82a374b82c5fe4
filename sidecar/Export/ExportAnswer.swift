import Foundation
import OTLP
import SwiftProtobuf

/// What a collector's 200 says.
enum ExportAnswer: Equatable {
    /// It took everything; a warning, where it has one.
    case taken(String)
    /// It did not take so many of the items, and will not.
    case partly(rejected: Int, String)
    /// It is no answer of a collector, so nobody knows. Not sent again: it may have been taken.
    case unclear

    /// Longest answer that is read, in bytes.
    static let most = 64 << 10

    init(_ kind: ExportKind, _ body: Data) {
        switch kind {
        case .spans:
            guard let answer = try? OTLPExportTraceServiceResponse(serializedBytes: body) else {
                self = .unclear
                return
            }
            let partial = answer.partialSuccess
            self = Self.make(body, answer.unknownFields, partial.rejectedSpans, partial.errorMessage)
        case .metrics:
            guard let answer = try? OTLPExportMetricsServiceResponse(serializedBytes: body) else {
                self = .unclear
                return
            }
            let partial = answer.partialSuccess
            self = Self.make(body, answer.unknownFields, partial.rejectedDataPoints, partial.errorMessage)
        }
    }

    private static func make(_ body: Data, _ unknown: UnknownStorage, _ rejected: Int64, _ message: String) -> Self {
        // Text can pass for a message of nothing but unknown fields.
        if !body.isEmpty, unknown.data.count == body.count { return .unclear }
        return rejected > 0 ? .partly(rejected: Int(clamping: rejected), message) : .taken(message)
    }
}

/// What is exported.
enum ExportKind: String, Sendable, CaseIterable {
    case metrics
    case spans

    /// Of the collector's URL.
    var path: String { self == .spans ? "/v1/traces" : "/v1/metrics" }
}

import Foundation
package import OTLP
import SwiftProtobuf

/// A span that has ended.
package struct SpanRecord: Sendable {
    package enum Kind: Sendable { case `internal`, server, client }

    package enum Value: Sendable, Hashable {
        case text(String)
        case whole(Int64)
        case number(Double)
        case flag(Bool)
    }

    package var context: TraceContext
    package var parent: SpanID?
    package var name: String
    package var kind: Kind
    /// Nanoseconds since 1970.
    package var start: UInt64
    /// Nanoseconds since 1970.
    package var end: UInt64
    package var attributes: [(String, Value)] = []
    package var links: [TraceContext] = []
    /// What it failed with, where it did: text that may be shown to operators.
    package var failure: String?

    package init(
        context: TraceContext,
        parent: SpanID?,
        name: String,
        kind: Kind,
        start: UInt64,
        end: UInt64,
        attributes: [(String, Value)] = [],
        links: [TraceContext] = [],
        failure: String? = nil
    ) {
        self.context = context
        self.parent = parent
        self.name = name
        self.kind = kind
        self.start = start
        self.end = end
        self.attributes = attributes
        self.links = links
        self.failure = failure
    }

    private var otlp: OTLPSpan {
        .with {
            $0.traceID = context.traceID.data
            $0.spanID = context.spanID.data
            $0.traceState = context.state
            $0.parentSpanID = parent?.data ?? Data()
            $0.name = name
            $0.kind =
                switch kind {
                case .internal: .internal
                case .server: .server
                case .client: .client
                }
            $0.startTimeUnixNano = start
            $0.endTimeUnixNano = end
            $0.attributes = attributes.map { OTLPKeyValue($0.0, $0.1) }
            $0.links = links.map { link in
                .with {
                    $0.traceID = link.traceID.data
                    $0.spanID = link.spanID.data
                }
            }
            if let failure {
                $0.status = .with {
                    $0.code = .error; $0.message = failure
                }
            }
            $0.flags = context.isSampled ? 1 : 0
        }
    }

    /// Spans of one process as they are sent.
    package static func otlp(_ spans: [SpanRecord], resource: [(String, String)], scope: String) -> OTLPTracesData {
        .with {
            $0.resourceSpans = [
                .with {
                    $0.resource.attributes = resource.map { OTLPKeyValue($0.0, $0.1) }
                    $0.scopeSpans = [
                        .with {
                            $0.scope.name = scope
                            $0.spans = spans.map(\.otlp)
                        }
                    ]
                }
            ]
        }
    }
}

extension OTLPKeyValue {
    fileprivate init(_ key: String, _ value: SpanRecord.Value) {
        self.init()
        self.key = key
        switch value {
        case .text(let text): self.value.stringValue = text
        case .whole(let whole): self.value.intValue = whole
        case .number(let number): self.value.doubleValue = number
        case .flag(let flag): self.value.boolValue = flag
        }
    }
}

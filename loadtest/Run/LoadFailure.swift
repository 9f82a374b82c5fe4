import Foundation
import NIOCore
import NIOPosix
import RPC

/// Why a load test did not come to its end, for people.
struct LoadFailure: Error, CustomStringConvertible {
    let description: String
    /// Whether the command was called wrongly: exit status 2, else 1.
    let isUsage: Bool

    init(_ description: String, isUsage: Bool = false) {
        self.description = description
        self.isUsage = isUsage
    }
}

extension LoadFailure {
    /// Why a call that is made before any load failed, and what to do about it.
    ///
    /// - Parameter name: Of the method.
    init(_ error: RPCError, of name: String) {
        // With TLS 1.3 a client learns only with its first call that the server takes none without a certificate.
        let lacksCertificate = error.code == .unavailable && error.message.contains("client certificate")
        let hint =
            switch error.code {
            case _ where lacksCertificate: " (--cert, --key)"
            case .notFound: "; make the data set with 'cohort-loadtest seed'"
            case .unauthenticated:
                "; give a certificate (--cert, --key) or a token (--token-file) that the server takes"
            case .permissionDenied: "; the principal needs a role that may call it"
            default: ""
            }
        let usage: Set<RPCError.Code> = [
            .notFound, .unauthenticated, .permissionDenied, .invalidArgument, .unimplemented,
        ]
        self.init(
            "\(name): \(error.code): \(error.message)\(hint)",
            isUsage: usage.contains(error.code) || lacksCertificate
        )
    }

    /// Why there is no connection, and where to look.
    init(connecting error: RPCError, to endpoint: Endpoint) {
        self.init("cannot connect to \(endpoint): \(Self.reason(error))", isUsage: true)
    }

    private static func reason(_ error: RPCError) -> String {
        switch error.cause {
        case let cause as NIOConnectionError:
            guard let first = cause.connectionErrors.first else { return "there is no such host; is the name right?" }
            return reason(first.error)
        case .some(let cause) where error.message.contains("TLS"): return tls(error.message, "\(cause)")
        case .some(let cause): return reason(cause)
        case nil: return error.message
        }
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as IOError where error.errnoCode == ECONNREFUSED:
            "connection refused; is the server running and the port right?"
        case let error as IOError where error.errnoCode != ETIMEDOUT:
            String(cString: strerror(error.errnoCode)).lowercased() + "; is the address right?"
        case is IOError, ChannelError.connectTimeout:
            "no answer; is the address right, and does a firewall let the port through?"
        default: "\(error)"
        }
    }

    /// BoringSSL tells what happened by names of its own.
    private static func tls(_ message: String, _ cause: String) -> String {
        let known = [
            ("CERTIFICATE_VERIFY_FAILED", "the server's certificate is not trusted; give its authority with --ca"),
            ("NO_APPLICATION_PROTOCOL", "what listens there speaks no ttRPC; is the port right?"),
            ("WRONG_VERSION_NUMBER", "what listens there speaks no TLS; is the port right?"),
        ]
        return known.first { cause.contains($0.0) }?.1 ?? "\(message) (\(cause))"
    }
}

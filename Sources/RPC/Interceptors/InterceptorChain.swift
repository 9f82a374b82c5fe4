/// Runs interceptors in order and in reverse.
package struct InterceptorChain: Sendable {
    /// How far `begin` came.
    package enum Begun: Sendable {
        /// Every interceptor let the call pass.
        case ready
        /// The one before `next` wants to wait for this.
        case parked(next: Int, @Sendable () async throws(RPCError) -> Void)
        /// The one at `at` rejected the call.
        case rejected(at: Int, RPCError)
    }

    package let interceptors: [any ServerInterceptor]

    package init(_ interceptors: [any ServerInterceptor]) { self.interceptors = interceptors }

    package var isEmpty: Bool { interceptors.isEmpty }
    package var count: Int { interceptors.count }

    package func begin(_ call: ServerCall, from start: Int = 0) -> Begun {
        var index = start
        while index < interceptors.count {
            do throws(RPCError) {
                if case .park(let body) = try interceptors[index].begin(call) {
                    return .parked(next: index + 1, body)
                }
            } catch {
                return .rejected(at: index, error)
            }
            index += 1
        }
        return .ready
    }

    /// Ends the first `begun` interceptors, the last first.
    package func end(_ call: ServerCall, _ outcome: CallOutcome, begun: Int) {
        var index = begun
        while index > 0 {
            index -= 1
            interceptors[index].end(call, outcome)
        }
    }
}

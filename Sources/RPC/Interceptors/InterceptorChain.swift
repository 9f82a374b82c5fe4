/// The interceptors around the calls of one method: runs them in order and in reverse.
package final class InterceptorChain: Sendable {
    /// How far `begin` came.
    package enum Begun: Sendable {
        /// Every interceptor let the call pass.
        case ready
        /// The one before `next` wants to wait for this.
        case parked(next: Int, @Sendable () async throws(RPCError) -> Void)
        /// The one at `at` rejected the call.
        case rejected(at: Int, RPCError)
    }

    package static let empty = InterceptorChain([])

    // Noncopyable, so that its functions are called where they stand: to call one out of an array retains each time all that it
    // refers to.
    private struct Link: ~Copyable {
        let hooks: InterceptorHooks

        @inline(__always)
        func begin(_ call: ServerCall) throws(RPCError) -> InterceptDecision {
            hooks.begins ? try hooks.begin(call) : .proceed
        }

        @inline(__always)
        func end(_ call: ServerCall, _ outcome: CallOutcome) {
            switch hooks.ends {
            case .none: break
            case .failures: if outcome.error != nil { hooks.end(call, outcome) }
            case .all: hooks.end(call, outcome)
            }
        }
    }

    // Unsafe: never changed once made.
    nonisolated(unsafe) private let links: UnsafeMutablePointer<Link>
    package let count: Int

    package init(_ interceptors: [any ServerInterceptor]) {
        count = interceptors.count
        links = .allocate(capacity: interceptors.count)
        for (index, interceptor) in interceptors.enumerated() {
            (links + index).initialize(to: Link(hooks: interceptor.hooks))
        }
    }

    /// What of these interceptors concerns the calls of a method.
    package convenience init(
        _ interceptors: [any ServerInterceptor],
        for method: MethodDescriptor,
        isInline: Bool
    ) {
        self.init(interceptors.compactMap { $0.specialized(for: method, isInline: isInline) })
    }

    deinit {
        links.deinitialize(count: count)
        links.deallocate()
    }

    package var isEmpty: Bool { count == 0 }

    package func begin(_ call: ServerCall, from start: Int = 0) -> Begun {
        var index = start
        while index < count {
            do throws(RPCError) {
                if case .park(let body) = try links[index].begin(call) {
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
            links[index].end(call, outcome)
        }
    }
}

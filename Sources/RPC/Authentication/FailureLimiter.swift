import NIOCore
import Synchronization

/// Counts failed authentications by address. An address that fails too often has its unknown tokens refused unseen, so that
/// guessing costs the server nothing and slows nobody else.
final class FailureLimiter: Sendable {
    private struct State {
        var addresses: [String: GCRA] = [:]
        /// For addresses that found no place: they share one budget.
        var others = GCRA()
    }

    private let limit: GCRA.Limit
    private let maximumAddresses: Int
    private let state = Mutex(State())

    init(limit: GCRA.Limit, maximumAddresses: Int) {
        self.limit = limit
        self.maximumAddresses = maximumAddresses
    }

    /// The time that this address has to wait, nil where it may try.
    func wait(for address: String, now: NIODeadline) -> Duration? {
        state.withLock { state in
            guard let known = state.addresses[address] else {
                return state.addresses.count < maximumAddresses ? nil : state.others.wait(at: now, limit: limit)
            }
            return known.wait(at: now, limit: limit)
        }
    }

    func failed(_ address: String, now: NIODeadline) {
        state.withLock { state in
            if state.addresses[address] == nil, state.addresses.count >= maximumAddresses {
                state.addresses = state.addresses.filter { !$0.value.isIdle(at: now) }
                guard state.addresses.count < maximumAddresses else {
                    _ = state.others.admit(at: now, limit: limit)
                    return
                }
            }
            _ = state.addresses[address, default: GCRA()].admit(at: now, limit: limit)
        }
    }

    var addresses: Int { state.withLock { $0.addresses.count } }
}

import SwiftProtobuf
import Synchronization

/// `grpc.health.v1.Health`: says which services can be called. The empty name stands for the server as a whole.
///
/// Everything registered starts as NOT_SERVING until told otherwise.
public final class HealthService: RegistrableService {
    /// State of a service.
    public typealias Status = Grpc_Health_V1_HealthCheckResponse.ServingStatus

    private struct State {
        var statuses: [String: Status]
        var watchers: [UInt64: (service: String, continuation: AsyncStream<Status>.Continuation)] = [:]
        var nextWatcher: UInt64 = 0
    }

    /// The methods, for clients that hold no generated stub.
    public enum Methods {
        /// The state now.
        public static let check = MethodDescriptor(
            service: "grpc.health.v1.Health",
            method: "Check",
            kind: .unary,
            isIdempotent: true
        )
        /// The state now and every change.
        public static let watch = MethodDescriptor(
            service: "grpc.health.v1.Health",
            method: "Watch",
            kind: .serverStreaming,
            isIdempotent: true
        )
        /// Every service's state.
        public static let list = MethodDescriptor(
            service: "grpc.health.v1.Health",
            method: "List",
            kind: .unary,
            isIdempotent: true
        )
    }

    private let state: Mutex<State>

    /// Knows these services and the empty name.
    public init(services: [String] = []) {
        var statuses: [String: Status] = ["": .notServing]
        for service in services { statuses[service] = .notServing }
        state = Mutex(State(statuses: statuses))
    }

    /// Sets the state of one service; `""` is the server as a whole. Watchers are told.
    public func set(_ status: Status, for service: String = "") {
        state.withLock { state in
            guard state.statuses.updateValue(status, forKey: service) != status else { return }
            for watcher in state.watchers.values where watcher.service == service {
                watcher.continuation.yield(status)
            }
        }
    }

    /// Sets the state of every service it knows.
    public func setAll(_ status: Status) {
        for service in state.withLock({ Array($0.statuses.keys) }) { set(status, for: service) }
    }

    /// The state of a service; nil if it is not known.
    public func status(of service: String) -> Status? { state.withLock { $0.statuses[service] } }

    /// Registers Check, Watch and List.
    public func register(with router: inout Router) {
        router.inline(Methods.check) {
            [self] (request: Grpc_Health_V1_HealthCheckRequest, _) throws(RPCError)
                -> InlineResult<Grpc_Health_V1_HealthCheckResponse> in
            guard let status = status(of: request.service) else {
                throw RPCError(.notFound, "this server has no service \"\(request.service)\"")
            }
            return .reply(.with { $0.status = status })
        }
        router.inline(Methods.list) {
            [self] (_: Grpc_Health_V1_HealthListRequest, _) throws(RPCError)
                -> InlineResult<Grpc_Health_V1_HealthListResponse> in
            let statuses = state.withLock { $0.statuses }
            return .reply(.with { $0.statuses = statuses.mapValues { status in .with { $0.status = status } } })
        }
        router.serverStream(Methods.watch) {
            [self]
            (
                request: Grpc_Health_V1_HealthCheckRequest,
                writer: ResponseWriter<Grpc_Health_V1_HealthCheckResponse>,
                _
            ) async throws(RPCError) in
            let (id, changes) = watch(request.service)
            defer { state.withLock { _ = $0.watchers.removeValue(forKey: id) } }
            for await status in changes {
                try await writer.write(.with { $0.status = status })
            }
        }
    }

    /// The state now and every change; a watcher that is slow sees the newest.
    private func watch(_ service: String) -> (UInt64, AsyncStream<Status>) {
        let (stream, continuation) = AsyncStream.makeStream(of: Status.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            state.nextWatcher += 1
            state.watchers[state.nextWatcher] = (service, continuation)
            continuation.yield(state.statuses[service] ?? .serviceUnknown)
            return state.nextWatcher
        }
        return (id, stream)
    }
}

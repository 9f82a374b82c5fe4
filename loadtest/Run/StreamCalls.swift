import CohortAPI
import NIOCore
import RPC
import SwiftProtobuf
import Synchronization

/// Calls that are streams, each in a task of its own: one page of members, or one message of an import and its receipt. They cost the
/// generator far more than unary calls.
final class StreamCalls: Sendable {
    private let client: CohortClient
    private let loop: any EventLoop
    private let running = Mutex<[UInt64: Task<Void, Never>]>([:])
    private let numbers = Atomic<UInt64>(0)

    init(_ client: CohortClient, on loop: any EventLoop) {
        self.client = client
        self.loop = loop
    }

    /// - Parameters:
    ///   - request: Serialized; of an import, its only message.
    ///   - done: Told on the event loop; nil for a call that was answered.
    func call(
        _ operation: Operation,
        _ request: ByteBuffer,
        deadline: NIODeadline?,
        metadata: Metadata,
        done: @escaping (RPCError.Code?) -> Void
    ) {
        let done = NIOLoopBound(done, eventLoop: loop)
        let number = numbers.wrappingAdd(1, ordering: .relaxed).newValue
        // Within the lock: one that ends at once would be put there after it has taken itself out.
        running.withLock {
            $0[number] = Task { [self] in
                let code = await once(operation, request, deadline: deadline, metadata: metadata)?.code
                running.withLock { _ = $0.removeValue(forKey: number) }
                loop.execute { done.value(code) }
            }
        }
    }

    /// Ends those that run: nobody waits for them any more.
    func cancel() {
        let tasks = running.withLock { tasks in
            defer { tasks = [:] }
            return tasks
        }
        for task in tasks.values { task.cancel() }
    }

    /// Makes a call. Nil where it was answered.
    func once(
        _ operation: Operation,
        _ request: ByteBuffer,
        deadline: NIODeadline?,
        metadata: Metadata
    ) async -> RPCError? {
        var options = CallOptions(metadata: metadata)
        options.timeout = deadline.map { .nanoseconds(max(1, ($0 - .now()).nanoseconds)) }
        do {
            switch operation {
            case .importCustomers: try await importRows(request, options)
            default: try await listPage(request, options)
            }
            return nil
        } catch {
            return error as? RPCError ?? RPCError(.internalError, "\(error)")
        }
    }

    private func listPage(_ request: ByteBuffer, _ options: CallOptions) async throws {
        let request = try ListMembersRequest(serializedBytes: Array(request.readableBytesView))
        let call = try await client.membership.listMembers(request, options: options)
        // Who leaves after the first page cancels the rest.
        var pages = call.makeAsyncIterator()
        _ = try await pages.next(isolation: #isolation)
    }

    private func importRows(_ request: ByteBuffer, _ options: CallOptions) async throws {
        let request = try ImportCustomersRequest(serializedBytes: Array(request.readableBytesView))
        let call = try await client.customers.importCustomers(options: options)
        try await call.requests.write(request)
        call.requests.finish()
        var answers = call.responses.makeAsyncIterator()
        while let answer = try await answers.next(isolation: #isolation) {
            if let rejection = answer.rejections.first {
                throw RPCError(.invalidArgument, "row \(rejection.row) was refused: \(rejection.description_p)")
            }
        }
    }
}

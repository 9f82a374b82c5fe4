import Logging
import NIOCore
import RPC

/// The connections of a load, which take turns; lives on one event loop. One that breaks is made anew in the background, after a
/// second and then every second, and calls go over the others meanwhile.
final class ConnectionSet {
    private let loop: any EventLoop
    private let connect: @Sendable () async throws(RPCError) -> ClientConnection
    private var connections: [ClientConnection?]
    private var turn = 0

    /// - Parameters:
    ///   - connections: Open, on this loop.
    ///   - connect: Makes another one like them.
    init(
        _ connections: [ClientConnection],
        on loop: any EventLoop,
        connect: @escaping @Sendable () async throws(RPCError) -> ClientConnection
    ) {
        self.connections = connections
        self.loop = loop
        self.connect = connect
    }

    /// The next that can be used; nil where there is none.
    func next() -> ClientConnection? {
        for _ in connections.indices {
            turn = turn + 1 == connections.count ? 0 : turn + 1
            guard let connection = connections[turn] else { continue }
            if connection.isUsable { return connection }
            connections[turn] = nil
            reconnect(turn)
        }
        return nil
    }

    /// Those that there are.
    var open: [ClientConnection] { connections.compactMap { $0 } }

    func close() {
        for connection in connections { connection?.close() }
        connections = []
    }

    private func reconnect(_ index: Int) {
        let this = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: .seconds(1)) { [connect, loop] in
            Task {
                do throws(RPCError) {
                    let connection = try await connect()
                    loop.execute { this.value.put(connection, at: index) }
                } catch {
                    loop.execute { this.value.retry(index) }
                }
            }
        }
    }

    private func put(_ connection: ClientConnection, at index: Int) {
        guard connections.indices.contains(index) else { return connection.close() }
        connections[index] = connection
    }

    private func retry(_ index: Int) {
        if connections.indices.contains(index) { reconnect(index) }
    }
}

import Foundation

/// Listens and never answers: connections are made for it by the system, or, where its queue of them is full, not at all.
final class SilentListener: Sendable {
    private let sockets: [Int32]
    let address: String

    init(isFull: Bool = false) throws {
        let listener = try Self.socket()
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_addr.s_addr = inet_addr("127.0.0.1")
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        try Self.with(&place) { bind(listener, $0, size) }
        try Self.with(&place) { getsockname(listener, $0, &size) }
        guard listen(listener, isFull ? 0 : 128) == 0 else { throw POSIXError(.EIO) }
        address = "127.0.0.1:\(UInt16(bigEndian: place.sin_port))"
        var sockets = [listener]
        // A queue of none takes one all the same; what comes after it waits for a place.
        for _ in 0..<(isFull ? 3 : 0) {
            let client = try Self.socket(SOCK_NONBLOCK.rawValue)
            sockets.append(client)
            // Under way, or waiting.
            try? Self.with(&place) { connect(client, $0, size) }
        }
        self.sockets = sockets
    }

    deinit { for each in sockets { close(each) } }

    private static func socket(_ flags: UInt32 = 0) throws -> Int32 {
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | flags), 0)
        guard descriptor >= 0 else { throw POSIXError(.EIO) }
        return descriptor
    }

    private static func with(
        _ place: inout sockaddr_in,
        _ call: (UnsafeMutablePointer<sockaddr>) -> Int32
    ) throws {
        let status = withUnsafeMutablePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1, call)
        }
        guard status == 0 else { throw POSIXError(.EIO) }
    }
}

/// Constants of `ttrpc-x1` (docs/protocol.md).
package enum ExtendedProtocol {
    /// Bytes a sender may send on a new stream before the first WINDOW frame.
    package static let initialWindow = 256 << 10
    /// The id on which a client sends frames that belong to the connection.
    package static let clientConnectionID: UInt32 = 1
    /// The id on which a server sends extension frames.
    package static let serverConnectionID: UInt32 = 0
    /// Largest body of PING and PONG.
    package static let maxPingBytes = 64
}

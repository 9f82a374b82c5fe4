/// Names of the protocols that are chosen by ALPN.
package enum ALPN {
    /// ttRPC with the extensions of docs/protocol.md.
    package static let extended = "ttrpc-x1"
    /// ttRPC as containerd specifies it.
    package static let stock = "ttrpc"
    /// What both ends offer, the preferred one first.
    package static let offered = [extended, stock]
}

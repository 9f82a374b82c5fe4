/// What traces a call, where it is traced. An interceptor attaches it.
package protocol CallSpan: AnyObject, Sendable {
    /// Runs what a call does in its task, so that what it does there can tell whose work it is.
    func run(_ body: () async -> Void) async
}

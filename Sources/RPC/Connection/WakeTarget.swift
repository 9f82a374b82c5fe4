/// What an outbox's wake-up reaches, until the connection is gone.
///
/// The handler owns the outbox and the outbox reaches the handler; the handler cuts that circle here when it is removed. A weak
/// reference would do as well, but makes every retain of the handler slower.
final class WakeTarget<Handler: AnyObject> {
    var handler: Handler?

    init(_ handler: Handler) { self.handler = handler }
}

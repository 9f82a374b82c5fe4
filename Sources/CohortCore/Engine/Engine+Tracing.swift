import Tracing

/// Runs what waits for a thread of the engine in a span of its own, where the caller is traced.
///
/// - Parameter name: What is waited for, as `cohort.commit`.
func traced<R>(
    _ name: String,
    _ body: () async throws(DomainError) -> R
) async throws(DomainError) -> R {
    guard let context = ServiceContext.current else { return try await body() }
    let span = startSpan(name, context: context)
    defer { span.end() }
    do throws(DomainError) { return try await body() } catch {
        span.recordError(error)
        throw error
    }
}

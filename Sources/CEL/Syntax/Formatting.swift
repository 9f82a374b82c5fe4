extension Environment {
    /// Parses an expression and writes it anew: one way for everything, with no brackets but those it needs.
    ///
    /// - Throws: ``CompilationError`` where the source is malformed; names and types are not looked at.
    public func format(_ source: String) throws(CompilationError) -> String {
        var copy = source
        let result: Result<String, CompilationError> = copy.withUTF8 { bytes in
            do throws(SourceError) {
                return .success(Printer.print(try Parser.parse(bytes, limits: limits)))
            } catch {
                let position = SourceMap(source, bytes: bytes).position(error.offset)
                let issue = CompilationError.Issue(
                    message: error.message,
                    position: position,
                    suggestion: error.suggestion
                )
                return .failure(CompilationError(source: source, issues: [issue]))
            }
        }
        return try result.get()
    }
}

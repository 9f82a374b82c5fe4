/// Why a pattern is malformed.
struct PatternError: Error {
    var message: String
    var offset: Int
}

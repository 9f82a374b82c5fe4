/// How much worse a result may be, as `p99=10%,rate=5%`.
struct RegressionGate: Sendable, Hashable {
    struct SyntaxError: Error, CustomStringConvertible {
        var description: String
    }

    enum Verdict: String, Codable, Sendable {
        case passed
        case failed
        /// Worse than allowed, but it may be chance: the interval holds no difference as well.
        case uncertain
    }

    struct Limit: Sendable, Hashable {
        var figure: Comparison.Figure
        /// A share, 0 or more.
        var limit: Double
    }

    /// A limit and how a comparison fares with it.
    struct Judgement: Codable, Sendable, Hashable {
        var figure: Comparison.Figure
        var limit: Double
        var verdict: Verdict
    }

    private(set) var limits: [Limit]

    /// - Throws: `SyntaxError`, which names the part and what would be right.
    init(parsing text: String) throws(SyntaxError) {
        limits = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = part.filter { $0 != " " }.split(separator: "=", omittingEmptySubsequences: false)
            guard sides.count == 2 else {
                throw SyntaxError(description: "'\(part)' is no limit; write it as p99=10%")
            }
            guard let figure = Comparison.Figure(rawValue: sides[0] == "p99.9" ? "p999" : String(sides[0])) else {
                let names = Comparison.Figure.allCases.map(\.rawValue).joined(separator: ", ")
                throw SyntaxError(description: "'\(sides[0])' is no figure; use \(names)")
            }
            guard sides[1].hasSuffix("%"), let percent = Double(sides[1].dropLast()), percent >= 0, percent.isFinite
            else {
                throw SyntaxError(description: "'\(sides[1])' is no percentage; write it as \(figure)=10%")
            }
            limits.append(Limit(figure: figure, limit: percent / 100))
        }
    }

    /// Errors are compared in percentage points, everything else in proportion to before.
    func judge(_ comparison: Comparison) -> [Judgement] {
        limits.compactMap { limit in
            guard let difference = comparison.differences.first(where: { $0.figure == limit.figure }) else {
                return nil
            }
            let isWorse = difference.worsening > limit.limit
            let verdict = isWorse ? (difference.isCertain ? Verdict.failed : .uncertain) : .passed
            return Judgement(figure: limit.figure, limit: limit.limit, verdict: verdict)
        }
    }
}

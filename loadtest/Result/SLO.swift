import Foundation

/// A service-level objective, as `p99<5ms,errors<0.1%,rate>=1000`: every term has to hold.
struct SLO: Sendable, Hashable, CustomStringConvertible {
    enum Figure: String, Sendable, CaseIterable {
        case p50, p90, p95, p99, p999, max, mean, errors, rate
    }

    enum Comparison: String, Sendable {
        case less = "<"
        case atMost = "<="
        case more = ">"
        case atLeast = ">="
    }

    struct Term: Sendable, Hashable {
        /// As it was written.
        var text: String
        var figure: Figure
        var comparison: Comparison
        /// In the unit written: of time, percent, or calls a second.
        var limit: Double
        /// Milliseconds, percent or calls a second in one unit of `limit`.
        var scale: Double

        /// In milliseconds, percent or calls a second.
        var scaledLimit: Double { limit * scale }
    }

    struct SyntaxError: Error, Hashable, CustomStringConvertible {
        /// Which term, from 1.
        var term: Int
        var text: String
        /// The character of the whole text that is wrong, from 1.
        var position: Int
        var reason: String

        var description: String { "term \(term) '\(text)', character \(position): \(reason)" }
    }

    let terms: [Term]

    var description: String { terms.map(\.text).joined(separator: ",") }

    /// - Throws: `SyntaxError`, which names the term, the place and what would be right.
    init(parsing text: String) throws(SyntaxError) {
        var terms: [Term] = []
        var position = 1
        for (index, piece) in text.split(separator: ",", omittingEmptySubsequences: false).enumerated() {
            var parser = TermParser(term: index + 1, text: String(piece), start: position)
            terms.append(try parser.parse())
            position += piece.count + 1
        }
        self.terms = terms
    }

    /// The time that the first term about a percentile, the greatest or the mean allows, in milliseconds.
    func latencyLimit(_ figure: Figure = .p99) -> Double? {
        terms.first { $0.figure == figure }?.scaledLimit
    }

    /// Each term against what was measured. Without any answer no term on latency is met, and calls that were never sent or never
    /// answered count in them as ones that took for ever.
    func evaluate(_ result: LoadResult) -> [LoadResult.SLOOutcome] {
        terms.map { term in
            let measured = term.measured(result) / term.scale
            let hasFigure =
                result.sent > 0 && (term.figure == .errors || term.figure == .rate || result.answered > 0)
            let isMet =
                switch term.comparison {
                case .less: measured < term.limit
                case .atMost: measured <= term.limit
                case .more: measured > term.limit
                case .atLeast: measured >= term.limit
                }
            return LoadResult.SLOOutcome(term: term.text, measured: measured, isMet: hasFigure && isMet)
        }
    }

    func isMet(by result: LoadResult) -> Bool { evaluate(result).allSatisfy(\.isMet) }
}

extension LoadResult {
    /// Says which of the objectives are met, and whether the generator spoiled one: a term on the slowest calls is missed, and its
    /// own lag alone would miss it. That one call of a hundred is late the generator tells by itself.
    mutating func judge(by slo: SLO) {
        self.slo = slo.evaluate(self)
        let spoiled = zip(slo.terms, self.slo).first { term, outcome in
            (term.figure == .p999 || term.figure == .max) && !outcome.isMet && generator.lagMax >= term.scaledLimit
        }
        guard !generator.isBottleneck, let term = spoiled?.0 else { return }
        generator.isBottleneck = true
        generator.reason = String(
            format:
                "a call was sent %.3g ms late, which alone misses %@. Give it a processor of its own or ask for less",
            generator.lagMax,
            term.text
        )
    }
}

extension SLO.Term {
    /// In milliseconds, percent or calls a second.
    fileprivate func measured(_ result: LoadResult) -> Double {
        func percentile(_ percentile: Double) -> Double {
            result.latency.milliseconds(
                atPercentile: percentile,
                endless: result.notSent,
                unended: result.unanswered
            )
        }
        return switch figure {
        case .p50: percentile(50)
        case .p90: percentile(90)
        case .p95: percentile(95)
        case .p99: percentile(99)
        case .p999: percentile(99.9)
        case .max: percentile(100)
        case .mean: result.notSent + result.unanswered > 0 ? .infinity : result.latency.mean
        case .errors: result.errorRatio * 100
        case .rate: result.rateReached
        }
    }
}

/// Parses one term: a figure, a comparison, a number and its unit, with spaces anywhere between them.
private struct TermParser {
    let term: Int
    let text: String
    /// The position of the term in the whole text, from 1.
    let start: Int
    private var rest: Substring

    init(term: Int, text: String, start: Int) {
        (self.term, self.text, self.start) = (term, text, start)
        rest = text[...]
    }

    private func refuse(_ reason: String, at place: Substring? = nil) -> SLO.SyntaxError {
        let offset = text.distance(from: text.startIndex, to: (place ?? rest).startIndex)
        return SLO.SyntaxError(
            term: term,
            text: text.trimmingSpaces(),
            position: start + offset,
            reason: reason
        )
    }

    mutating func parse() throws(SLO.SyntaxError) -> SLO.Term {
        skipSpaces()
        if rest.isEmpty { throw refuse("a term is missing; write it as p99<5ms, errors<0.1% or rate>=1000") }
        let figure = try parseFigure()
        let comparison = try parseComparison(figure)
        let limit = try parseNumber(figure)
        let scale = try parseUnit(figure)
        skipSpaces()
        if !rest.isEmpty { throw refuse("'\(rest)' is too much; terms are separated by commas") }
        return SLO.Term(
            text: text.trimmingSpaces(),
            figure: figure,
            comparison: comparison,
            limit: limit,
            scale: scale
        )
    }

    private mutating func skipSpaces() { rest = rest.drop { $0 == " " } }

    private mutating func take(while condition: (Character) -> Bool) -> Substring {
        skipSpaces()
        let taken = rest.prefix(while: condition)
        rest = rest[taken.endIndex...]
        return taken
    }

    private mutating func parseFigure() throws(SLO.SyntaxError) -> SLO.Figure {
        let word = take { $0.isLetter || $0.isNumber || $0 == "." }
        let name = word == "p99.9" ? "p999" : word.lowercased()
        guard let figure = SLO.Figure(rawValue: name) else {
            throw refuse(
                "'\(word)' is no figure; use p50, p90, p95, p99, p999, max, mean, errors or rate",
                at: word
            )
        }
        return figure
    }

    private mutating func parseComparison(_ figure: SLO.Figure) throws(SLO.SyntaxError) -> SLO.Comparison {
        let sign = take { "<>=!≤≥".contains($0) }
        let isRate = figure == .rate
        guard let comparison = SLO.Comparison(rawValue: String(sign)), isRate == (sign.first == ">") else {
            let fitting = isRate ? "> or >=" : "< or <="
            let found = sign.isEmpty ? "nothing" : "'\(sign)'"
            throw refuse("\(figure) is followed by \(found); it takes \(fitting)", at: sign)
        }
        return comparison
    }

    private mutating func parseNumber(_ figure: SLO.Figure) throws(SLO.SyntaxError) -> Double {
        let digits = take { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let number = Double(digits), number.isFinite else {
            let found = digits.isEmpty ? "no number follows" : "'\(digits)' is no number"
            throw refuse("\(found); write it as \(Self.example(figure))", at: digits)
        }
        return number
    }

    private mutating func parseUnit(_ figure: SLO.Figure) throws(SLO.SyntaxError) -> Double {
        let unit = take { $0 != " " }
        switch (figure, unit) {
        case (.errors, "%"), (.rate, ""), (.rate, "/s"): return 1
        case (.errors, _): throw refuse("errors takes a percentage, as \(Self.example(figure))", at: unit)
        case (.rate, _): throw refuse("rate is in calls a second, as \(Self.example(figure))", at: unit)
        case (_, "us"), (_, "µs"), (_, "μs"): return 0.001
        case (_, "ms"): return 1
        case (_, "s"): return 1_000
        default:
            let found = unit.isEmpty ? "the unit is missing" : "'\(unit)' is no unit of time"
            throw refuse("\(found); use us, ms or s, as \(Self.example(figure))", at: unit)
        }
    }

    private static func example(_ figure: SLO.Figure) -> String {
        switch figure {
        case .errors: "errors<0.1%"
        case .rate: "rate>=1000"
        default: "\(figure)<5ms"
        }
    }
}

extension String {
    fileprivate func trimmingSpaces() -> String {
        String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}

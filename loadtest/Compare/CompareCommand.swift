import ArgumentParser
import Foundation

extension LoadTest {
    struct Compare: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "compare",
            abstract: "Compare two results of 'run' or of 'closed', and fail when the second is worse.",
            discussion: """
                Differences come with the interval that holds the true one with 95 % confidence. A limit of
                --max-regression is missed when the second result is worse by more than it and the interval excludes
                chance. Exit status: 0 done, 1 a limit missed, 2 wrong usage or results that cannot be compared.
                """
        )

        @Argument(help: "The JSON file of the first run.") var before: String
        @Argument(help: "The JSON file of the second.") var after: String
        @Option(
            help: ArgumentHelp("How much worse the second may be, as p99=10%,rate=5%.", valueName: "limits"),
            transform: RegressionGate.init(parsing:)
        )
        var maxRegression: RegressionGate?
        @Flag(help: "Compare results of different loads; an open load and a closed loop never are.") var force = false
        @Option(help: ArgumentHelp("Write the comparison here.", valueName: "file")) var json: String?

        private struct Document: Encodable {
            var kind = "comparison"
            var format = 1
            var differences: [Comparison.Difference]
            var limits: [RegressionGate.Judgement]
        }

        func run() async throws {
            let one = try ResultFiles.decode(LoadResult.self, path: before, what: "a result of run")
            let other = try ResultFiles.decode(LoadResult.self, path: after, what: "a result of run")
            try Comparison.check(before: one, after: other)
            let obstacles = Comparison.obstacles(before: one, after: other)
            guard obstacles.isEmpty || force else {
                throw FileProblem(
                    "the results are of different loads (\(obstacles.joined(separator: "; "))); --force compares them"
                )
            }
            for obstacle in obstacles { FileHandle.standardError.write(Data("warning: \(obstacle)\n".utf8)) }
            let comparison = try Comparison(before: one, after: other)
            for difference in comparison.differences { print(ComparisonText.line(difference)) }
            let verdicts = maxRegression?.judge(comparison) ?? []
            for verdict in verdicts { print(ComparisonText.line(verdict)) }
            if let json {
                let document = Document(differences: comparison.differences, limits: verdicts)
                try ResultFiles.write(ResultFiles.encode(document), to: json)
            }
            if verdicts.contains(where: { $0.verdict == .failed }) { throw ExitCode(1) }
        }
    }
}

/// A comparison in words.
enum ComparisonText {
    /// `p99     1.2 ms -> 1.5 ms  +25 % (+18 % to +33 %)  worse`
    static func line(_ difference: Comparison.Difference) -> String {
        let figure = difference.figure
        let change = difference.change
        let values = [difference.before, difference.after].map { value(figure, $0) }
        let verdict = difference.isCertain ? (difference.worsening > 0 ? "worse" : "better") : "no certain difference"
        let unit = figure == .errors ? " points" : ""
        let name = figure.rawValue.padding(toLength: 7, withPad: " ", startingAt: 0)
        return "\(name) \(values[0]) -> \(values[1])  \(signed(change.value))\(unit) "
            + "(\(signed(change.low)) to \(signed(change.high)))  \(verdict)"
    }

    static func line(_ judged: RegressionGate.Judgement) -> String {
        let limit = "limit \(judged.figure.rawValue)=\(Format.percent(judged.limit))"
        return switch judged.verdict {
        case .passed: "\(limit): met"
        case .failed: "\(limit): MISSED"
        case .uncertain: "\(limit): exceeded, but it may be chance; measure for longer"
        }
    }

    private static func value(_ figure: Comparison.Figure, _ value: Double) -> String {
        switch figure {
        case .rate: Format.rate(value)
        case .errors: Format.percent(value)
        default: Format.milliseconds(value)
        }
    }

    private static func signed(_ share: Double) -> String { (share > 0 ? "+" : "") + Format.percent(share) }
}

import CohortAPI
import Foundation

/// Colours for people: on a terminal, unless NO_COLOR is set.
struct Style {
    enum Colour: String {
        case green = "32"
        case red = "31"
        case yellow = "33"
        case bold = "1"
        case dim = "2"
    }

    let isColoured: Bool

    /// - Parameters:
    ///   - environment: of the process; NO_COLOR with any value, and TERM=dumb, ask for plain text (no-color.org).
    ///   - isTerminal: whether the output is one.
    init(
        environment: [String: String] = ProcessInfo.processInfo.environment,
        isTerminal: Bool = isatty(STDOUT_FILENO) == 1
    ) {
        isColoured = isTerminal && (environment["NO_COLOR"] ?? "").isEmpty && environment["TERM"] != "dumb"
    }

    func paint(_ text: String, _ colour: Colour) -> String {
        isColoured ? "\u{1B}[\(colour.rawValue)m\(text)\u{1B}[0m" : text
    }

    /// IN green, OUT red, UNKNOWN yellow.
    func paint(_ membership: Membership) -> String { paint(membership.text, Self.colour(of: membership)) }

    static func colour(of membership: Membership) -> Colour {
        switch membership {
        case .in: .green
        case .out: .red
        case .unknown, .unspecified, .UNRECOGNIZED: .yellow
        }
    }
}

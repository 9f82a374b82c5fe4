import Foundation

/// Numbers as a reader wants them: no more digits than mean something.
enum Format {
    /// Three significant digits, thousands apart: `12,300`, `4.56`, `0.012`.
    static func number(_ value: Double) -> String {
        guard value.isFinite else { return value.isNaN ? "–" : value > 0 ? "∞" : "−∞" }
        if value == 0 { return "0" }
        let size = value.magnitude
        let digits = Int(floor(log10(size)))
        if digits >= 15 || digits < -6 { return String(format: "%.2e", value) }
        let unit = pow(10, Double(digits - 2))
        let rounded = (value / unit).rounded() * unit
        if digits >= 2 { return grouped(rounded) }
        var text = String(format: "%.\(2 - digits)f", rounded)
        while text.contains("."), text.hasSuffix("0") || text.hasSuffix(".") { text.removeLast() }
        return text
    }

    /// A whole number, thousands apart, all digits.
    static func count(_ value: UInt64) -> String { grouped(Double(value)) }

    /// `6,100/s`.
    static func rate(_ value: Double) -> String { number(value) + "/s" }

    /// A share of 0 to 1: `12 %`, `0.05 %`.
    static func percent(_ share: Double) -> String { number(share * 100) + " %" }

    /// Milliseconds in the unit that fits: `420 µs`, `3.1 ms`, `2 s`.
    static func milliseconds(_ value: Double) -> String {
        switch value.magnitude {
        case 0: "0 ms"
        case ..<1: number(value * 1_000) + " µs"
        case ..<1_000: number(value) + " ms"
        default: number(value / 1_000) + " s"
        }
    }

    private static func grouped(_ value: Double) -> String {
        var digits = Array(String(format: "%.0f", value.magnitude))
        var index = digits.count - 3
        while index > 0 {
            digits.insert(",", at: index)
            index -= 3
        }
        return (value < 0 ? "−" : "") + String(digits)
    }
}

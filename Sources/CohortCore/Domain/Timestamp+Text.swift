extension Timestamp: CustomStringConvertible {
    /// RFC 3339 in UTC, with as many decimals as it takes: `2026-05-01T10:00:00.25Z`.
    package var description: String {
        let day = seconds >= 0 ? seconds / 86_400 : -((86_399 - seconds) / 86_400)
        let second = Int(seconds - day * 86_400)
        let (year, month, dayOfMonth) = Self.civil(day)
        var text = "\(Self.digits(year, 4))-\(Self.digits(month, 2))-\(Self.digits(dayOfMonth, 2))T"
        text += "\(Self.digits(second / 3_600, 2)):\(Self.digits(second / 60 % 60, 2)):\(Self.digits(second % 60, 2))"
        if nanoseconds > 0 {
            var decimals = Substring(Self.digits(Int(nanoseconds), 9))
            while decimals.last == "0" { decimals.removeLast() }
            text += ".\(decimals)"
        }
        return text + "Z"
    }

    private static func digits(_ value: Int, _ count: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, count - text.count)) + text
    }

    /// The date of a day counted from 1970-01-01, in the Gregorian calendar (Hinnant, "chrono-compatible low-level date
    /// algorithms").
    private static func civil(_ day: Int64) -> (year: Int, month: Int, day: Int) {
        // Counted from 0000-03-01: leap days come last in a year then. No day here is before year 1.
        let shifted = Int(day) + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let dayOfMonth = dayOfYear - (153 * month + 2) / 5 + 1
        return (
            yearOfEra + era * 400 + (month < 10 ? 0 : 1), month < 10 ? month + 3 : month - 9, dayOfMonth
        )
    }
}

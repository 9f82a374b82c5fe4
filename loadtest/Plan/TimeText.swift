import Foundation

/// Times in files of traffic: RFC 3339 (`2026-03-01T12:00:00Z`, `2026-03-01 13:00+01:00`; without a zone it is UTC), a
/// date, or seconds or milliseconds since 1970.
enum TimeText {
    /// - Returns: Seconds since 1970; nothing if it is none of these.
    static func parse(_ text: some StringProtocol) -> Double? {
        if let number = Double(text), number.isFinite {
            guard number >= 0, number < 1e14 else { return nil }
            // The year 5138 in seconds is 1973 in milliseconds.
            return number < 1e11 ? number : number / 1_000
        }
        var rest = Array(text.utf8)[...]
        func take(_ count: Int) -> Int? {
            let digits = rest.prefix(count)
            guard digits.count == count, digits.allSatisfy({ $0 >= 48 && $0 <= 57 }) else { return nil }
            rest = rest.dropFirst(count)
            return digits.reduce(0) { $0 * 10 + Int($1 - 48) }
        }
        func skip(_ characters: String) -> Bool {
            guard let first = rest.first, characters.utf8.contains(first) else { return false }
            rest = rest.dropFirst()
            return true
        }
        guard let year = take(4), skip("-"), let month = take(2), skip("-"), let day = take(2),
            let days = days(year, month, day)
        else { return nil }
        var seconds = Double(days) * 86_400
        if rest.isEmpty { return seconds }
        guard skip("Tt "), let hour = take(2), hour < 24, skip(":"), let minute = take(2), minute < 60 else {
            return nil
        }
        seconds += Double(hour * 3_600 + minute * 60)
        if skip(":") {
            guard let second = take(2), second <= 60 else { return nil }
            seconds += Double(second)
            if skip(".") {
                let digits = rest.prefix { $0 >= 48 && $0 <= 57 }
                guard let fraction = Double("0." + String(decoding: digits, as: UTF8.self)), !digits.isEmpty else {
                    return nil
                }
                rest = rest.dropFirst(digits.count)
                seconds += fraction
            }
        }
        if rest.isEmpty || skip("Zz") { return rest.isEmpty ? seconds : nil }
        let sign: Double = rest.first == UInt8(ascii: "-") ? 1 : -1
        guard skip("+-"), let zoneHour = take(2), zoneHour < 24, skip(":"), let zoneMinute = take(2), zoneMinute < 60,
            rest.isEmpty
        else { return nil }
        return seconds + sign * Double(zoneHour * 3_600 + zoneMinute * 60)
    }

    /// Days since 1970 in the Gregorian calendar; nothing for a day that there is not.
    private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int? {
        guard (1...12).contains(month), day >= 1 else { return nil }
        let isLeap = year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400))
        let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard day <= lengths[month - 1] else { return nil }
        let before = year - 1
        let toYear = 365 * before + before / 4 - before / 100 + before / 400
        return toYear - 719_162 + lengths[..<(month - 1)].reduce(0, +) + day - 1
    }

    /// `2026-03-01`, in UTC.
    static func date(_ seconds: Double) -> String {
        Date(timeIntervalSince1970: seconds).formatted(.iso8601.year().month().day())
    }

    /// `2026-03-01 12:00`, in UTC.
    static func minute(_ seconds: Double) -> String {
        let text = Date(timeIntervalSince1970: seconds).formatted(.iso8601)
        return text.prefix(10) + " " + text.dropFirst(11).prefix(5)
    }
}

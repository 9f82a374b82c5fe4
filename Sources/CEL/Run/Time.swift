import Foundation

/// Calendar arithmetic and the texts of timestamps and durations.
enum Time {
    /// An instant's fields in a time zone, months and days as CEL counts them.
    struct Fields {
        var year = 0
        /// 1 to 12.
        var month = 0
        /// 1 to 31.
        var day = 0
        /// 0 is Sunday.
        var weekday = 0
        /// 0 to 365.
        var dayOfYear = 0
        var hour = 0
        var minute = 0
        var second = 0
        var nanoseconds = 0
    }

    static func add(_ t: Timestamp, nanoseconds: Int64) -> Timestamp? {
        let (quotient, remainder) = floorDivide(nanoseconds, 1_000_000_000)
        let nanos = Int64(t.nanoseconds) + remainder
        let carry: Int64 = nanos >= 1_000_000_000 ? 1 : 0
        return Timestamp(seconds: t.seconds + quotient + carry, nanoseconds: Int32(nanos - carry * 1_000_000_000))
    }

    static func difference(_ a: Timestamp, _ b: Timestamp) -> Int64? {
        let (product, overflow) = (a.seconds - b.seconds).multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, carry) = product.addingReportingOverflow(Int64(a.nanoseconds) - Int64(b.nanoseconds))
        return overflow || carry ? nil : sum
    }

    static func floorDivide(_ a: Int64, _ b: Int64) -> (Int64, Int64) {
        let (quotient, remainder) = a.quotientAndRemainder(dividingBy: b)
        return remainder < 0 ? (quotient - 1, remainder + b) : (quotient, remainder)
    }

    /// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
    ///
    /// Source: H. Hinnant, chrono-Compatible Low-Level Date Algorithms, days_from_civil and civil_from_days.
    static func days(year: Int, month: Int, day: Int) -> Int {
        let y = month <= 2 ? year - 1 : year
        let era = (y >= 0 ? y : y - 399) / 400
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    static func fields(_ t: Timestamp, offset: Int) -> Fields {
        let (day, second) = floorDivide(t.seconds + Int64(offset), 86_400)
        let days = Int(day)
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        var fields = Fields()
        fields.day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        fields.month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        fields.year = yearOfEra + era * 400 + (fields.month <= 2 ? 1 : 0)
        fields.dayOfYear = days - Self.days(year: fields.year, month: 1, day: 1)
        fields.weekday = Int(floorDivide(Int64(days) + 4, 7).1)
        fields.hour = Int(second) / 3_600
        fields.minute = Int(second) / 60 % 60
        fields.second = Int(second) % 60
        fields.nanoseconds = Int(t.nanoseconds)
        return fields
    }

    // MARK: Time zones

    /// Seconds east of UTC of a zone by its name or its offset, as `+01:00`, `-02:30` or `02:00`.
    static func offset(_ zone: String, at t: Timestamp) -> Int? {
        if zone.isEmpty || zone == "UTC" || zone == "Z" { return 0 }
        var bytes = Array(zone.utf8)
        var sign = 1
        if bytes[0] == UInt8(ascii: "-") || bytes[0] == UInt8(ascii: "+") {
            sign = bytes[0] == UInt8(ascii: "-") ? -1 : 1
            bytes.removeFirst()
        }
        if bytes.count == 5, bytes[2] == UInt8(ascii: ":"), let hours = number(bytes, 0, 2),
            let minutes = number(bytes, 3, 2)
        {
            return hours < 24 && minutes < 60 ? sign * (hours * 3_600 + minutes * 60) : nil
        }
        // Names are of the IANA database. Nothing else reaches Foundation, which looks for a file of that name.
        guard zone.utf8.count <= 64, isZoneName(zone), let zone = TimeZone(identifier: zone) else { return nil }
        return zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(t.seconds)))
    }

    private static func isZoneName(_ name: String) -> Bool {
        guard let first = name.utf8.first, first & 0xDF &- 0x41 < 26 else { return false }
        let isPlain = name.utf8.allSatisfy { isIdentifierPart($0) || "/+-".utf8.contains($0) }
        return isPlain && (name.utf8.contains(UInt8(ascii: "/")) || knownZones.contains(name))
    }

    private static let knownZones = Set(TimeZone.knownTimeZoneIdentifiers)

    private static func number(_ bytes: some RandomAccessCollection<UInt8>, _ from: Int, _ count: Int) -> Int? {
        var value = 0
        for place in from..<from + count {
            let digit = bytes[bytes.index(bytes.startIndex, offsetBy: place)] &- 0x30
            guard digit < 10 else { return nil }
            value = value * 10 + Int(digit)
        }
        return value
    }

    // MARK: Texts

    /// Parses an RFC 3339 timestamp.
    static func timestamp(_ text: String) -> Timestamp? {
        let bytes = Array(text.utf8.prefix(64))
        guard bytes.count >= 20, bytes[4] == 0x2D, bytes[7] == 0x2D, bytes[10] | 0x20 == UInt8(ascii: "t"),
            bytes[13] == 0x3A, bytes[16] == 0x3A, let year = number(bytes, 0, 4), let month = number(bytes, 5, 2),
            let day = number(bytes, 8, 2), let hour = number(bytes, 11, 2), let minute = number(bytes, 14, 2),
            let second = number(bytes, 17, 2), year >= 1, (1...12).contains(month),
            (1...daysInMonth(year, month)).contains(day), hour < 24, minute < 60, second < 60
        else { return nil }
        var at = 19
        var nanos = 0
        if bytes[at] == UInt8(ascii: ".") {
            at += 1
            var scale = 100_000_000
            let first = at
            while at < bytes.count, isDigit(bytes[at]) {
                nanos += Int(bytes[at] - 0x30) * scale
                scale /= 10
                at += 1
            }
            guard at > first, at - first <= 9 else { return nil }
        }
        guard at < bytes.count else { return nil }
        var offset = 0
        if bytes[at] | 0x20 == UInt8(ascii: "z") {
            guard at + 1 == bytes.count else { return nil }
        } else {
            guard bytes.count == at + 6, bytes[at] == 0x2B || bytes[at] == 0x2D, bytes[at + 3] == 0x3A,
                let hours = number(bytes, at + 1, 2), let minutes = number(bytes, at + 4, 2), hours < 24, minutes < 60
            else { return nil }
            offset = (bytes[at] == 0x2D ? -1 : 1) * (hours * 3_600 + minutes * 60)
        }
        let seconds = days(year: year, month: month, day: day) * 86_400 + hour * 3_600 + minute * 60 + second - offset
        return Timestamp(seconds: Int64(seconds), nanoseconds: Int32(nanos))
    }

    private static func daysInMonth(_ year: Int, _ month: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    static func text(_ t: Timestamp) -> String {
        let f = fields(t, offset: 0)
        func pad(_ value: Int, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        return "\(pad(f.year, 4))-\(pad(f.month, 2))-\(pad(f.day, 2))T\(pad(f.hour, 2)):\(pad(f.minute, 2)):"
            + "\(pad(f.second, 2))\(fraction(f.nanoseconds))Z"
    }

    /// `.5` for half a second's nanoseconds; nothing for none.
    private static func fraction(_ nanoseconds: Int) -> String {
        guard nanoseconds > 0 else { return "" }
        var digits = String(nanoseconds)
        digits = String(repeating: "0", count: 9 - digits.count) + digits
        while digits.hasSuffix("0") { digits.removeLast() }
        return "." + digits
    }

    /// The text of a duration in seconds: `90s`, `-0.5s`.
    static func text(nanoseconds: Int64) -> String {
        let magnitude = nanoseconds.magnitude
        let (seconds, rest) = magnitude.quotientAndRemainder(dividingBy: 1_000_000_000)
        return "\(nanoseconds < 0 ? "-" : "")\(seconds)\(fraction(Int(rest)))s"
    }

    /// Parses a duration such as `1h30m`, `-1.5s` or `100ms`; nil where it is none or leaves the range of nanoseconds.
    static func duration(_ text: String) -> Int64? {
        let bytes = Array(text.utf8.prefix(128))
        var at = 0
        var negative = false
        if let first = bytes.first, first == 0x2D || first == 0x2B {
            negative = first == 0x2D
            at = 1
        }
        if bytes.count == at + 1, bytes[at] == 0x30 { return 0 }
        guard at < bytes.count, text.utf8.count <= 128 else { return nil }
        var total: UInt64 = 0
        while at < bytes.count {
            guard let part = durationPart(bytes, &at) else { return nil }
            let (sum, overflow) = total.addingReportingOverflow(part)
            guard !overflow else { return nil }
            total = sum
        }
        if negative { return total <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- total) : nil }
        return Int64(exactly: total)
    }

    private static func durationPart(_ bytes: [UInt8], _ at: inout Int) -> UInt64? {
        var whole: UInt64 = 0
        var digits = 0
        while at < bytes.count, isDigit(bytes[at]) {
            let (product, overflow) = whole.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(bytes[at] - 0x30))
            guard !overflow, !carry else { return nil }
            whole = sum
            digits += 1
            at += 1
        }
        var fraction: [UInt8] = []
        if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
            at += 1
            while at < bytes.count, isDigit(bytes[at]) {
                fraction.append(bytes[at] - 0x30)
                at += 1
            }
        }
        guard digits + fraction.count > 0, let unit = unit(bytes, &at) else { return nil }
        let (product, overflow) = whole.multipliedReportingOverflow(by: unit)
        guard !overflow else { return nil }
        // A digit of the fraction is worth a tenth of what the digit before it was; what is below a nanosecond is lost.
        var rest: UInt64 = 0
        var scale = unit
        for digit in fraction {
            rest += UInt64(digit) * scale / 10
            if scale % 10 != 0 { break }
            scale /= 10
        }
        let (sum, carry) = product.addingReportingOverflow(rest)
        return carry ? nil : sum
    }

    private static func unit(_ bytes: [UInt8], _ at: inout Int) -> UInt64? {
        let start = at
        while at < bytes.count, !isDigit(bytes[at]), bytes[at] != UInt8(ascii: ".") { at += 1 }
        switch String(decoding: bytes[start..<at], as: UTF8.self) {
        case "ns": return 1
        case "us", "µs", "μs": return 1_000
        case "ms": return 1_000_000
        case "s": return 1_000_000_000
        case "m": return 60_000_000_000
        case "h": return 3_600_000_000_000
        default: return nil
        }
    }
}

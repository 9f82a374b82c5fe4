/// Past traffic on a regular grid of time, with gaps where nothing was recorded.
struct Traffic: Sendable, Hashable {
    /// Seconds since 1970 of the first value.
    var start: Double
    /// Seconds from one value to the next: an hour, or more where the records are further apart.
    var interval: Double
    /// Calls a second; nothing where there is no record.
    var values: [Double?]
    /// How much higher the highest record within an interval is than the mean, in all but 5 % of the intervals; 1 where
    /// there is one record in each.
    var peakFactor: Double

    var end: Double { start + interval * Double(values.count) }
    var missing: Int { values.count { $0 == nil } }

    /// The longest run of missing values.
    var longestGap: Int {
        values.reduce(into: (longest: 0, current: 0)) { run, value in
            run.current = value == nil ? run.current + 1 : 0
            run.longest = max(run.longest, run.current)
        }.longest
    }

    /// Intervals in a day; nothing when the records are a day apart, so that a day has no shape.
    var day: Int? { interval < 86_400 ? Int(86_400 / interval) : nil }
    /// Intervals in a week.
    var week: Int { Int(7 * 86_400 / interval) }

    private static let intervals: [Double] = [3_600, 7_200, 10_800, 14_400, 21_600, 28_800, 43_200, 86_400]

    /// Reads lines of a timestamp and a rate; a first line of names and further columns are passed over.
    ///
    /// - Throws: `FileProblem`, with the number of the line and what would be right.
    init(csv text: String) throws(FileProblem) {
        var records: [(time: Double, rate: Double, line: Int)] = []
        var number = 0
        for line in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
            number += 1
            let fields = line.split(separator: ",", omittingEmptySubsequences: false).map(Self.trim)
            if fields.count == 1, fields[0].isEmpty { continue }
            let time = TimeText.parse(fields[0])
            if number == 1, time == nil, fields.count >= 2, Double(fields[1]) == nil { continue }
            guard fields.count >= 2 else {
                throw FileProblem("line \(number) '\(line)' has one column; it takes a timestamp, a comma and a rate")
            }
            guard let time else {
                throw FileProblem(
                    "line \(number): '\(fields[0])' is no timestamp; write RFC 3339 (2026-03-01T12:00:00Z) or seconds "
                        + "since 1970"
                )
            }
            guard let rate = Double(fields[1]), rate.isFinite, rate >= 0 else {
                throw FileProblem("line \(number): '\(fields[1])' is no rate; write calls a second, 0 or more")
            }
            records.append((time, rate, number))
        }
        guard !records.isEmpty else { throw FileProblem("there is no line with a timestamp and a rate") }
        records.sort { $0.time < $1.time }
        for (one, next) in zip(records, records.dropFirst()) where one.time == next.time {
            let lines = [one.line, next.line].sorted()
            throw FileProblem("line \(lines[1]) has the same time as line \(lines[0]); give each time once")
        }
        try self.init(records.map { (time: $0.time, rate: $0.rate) })
    }

    /// - Parameter records: By ascending time, each time once.
    private init(_ records: [(time: Double, rate: Double)]) throws(FileProblem) {
        let distances = zip(records, records.dropFirst()).map { $1.time - $0.time }.sorted()
        let distance = distances.isEmpty ? 0 : distances[(distances.count - 1) / 2]
        // Clocks are not exact; a record every 3,610 s is one an hour.
        guard let interval = Self.intervals.first(where: { distance <= $0 * 1.05 }) else {
            throw FileProblem(
                "the records are \(Format.number(distance / 86_400)) days apart; a forecast takes one a day at least"
            )
        }
        // Days begin at midnight, so that days and hours of the week are the calendar's.
        let start = (records[0].time / interval).rounded(.down) * interval
        let count = Int(((records[records.count - 1].time - start) / interval).rounded(.down)) + 1
        guard count <= 10_000_000 else { throw FileProblem("the records span more than 1,000 years") }
        var sums = [(sum: Double, highest: Double, count: Double)](repeating: (0, 0, 0), count: count)
        for record in records {
            let index = Int((record.time - start) / interval)
            sums[index].sum += record.rate
            sums[index].highest = max(sums[index].highest, record.rate)
            sums[index].count += 1
        }
        // An interval that has just begun or just ended would count as a lull.
        let usual = Double(records.count) / Double(sums.count { $0.count > 0 })
        func isPartial(_ sum: (sum: Double, highest: Double, count: Double)) -> Bool { sum.count < usual / 2 }
        var first = 0
        if usual >= 2 {
            while sums.count > 1, let last = sums.last, isPartial(last) { sums.removeLast() }
            while first < sums.count - 1, isPartial(sums[first]) { first += 1 }
        }
        self.start = start + Double(first) * interval
        self.interval = interval
        values = sums[first...].map { $0.count > 0 ? $0.sum / $0.count : nil }
        let factors = sums[first...].filter { $0.count > 1 && $0.sum > 0 }.map { $0.highest * $0.count / $0.sum }
        peakFactor = factors.isEmpty ? 1 : factors.quantile(0.95)
    }

    init(start: Double, interval: Double, values: [Double?], peakFactor: Double = 1) {
        (self.start, self.interval, self.values, self.peakFactor) = (start, interval, values, peakFactor)
    }

    private static func trim(_ field: Substring) -> Substring {
        let isBlank = { (character: Character) in
            character == " " || character == "\r" || character == "\"" || character == "\t"
        }
        var field = field.drop(while: isBlank)
        if field.first == "\u{FEFF}" { field = field.dropFirst().drop(while: isBlank) }
        while let last = field.last, isBlank(last) { field.removeLast() }
        return field
    }

    /// The value at an index, seconds since 1970.
    func time(_ index: Int) -> Double { start + interval * Double(index) }
}

import Foundation

/// What one run measured: the value behind the JSON file, the reports and every analysis.
///
/// All times of calls are in milliseconds and all of `at` and `duration` in seconds from the start of the measurement;
/// the warm-up before it counts nowhere. In JSON the keys are in snake_case with their unit (`duration_s`), and the
/// percentiles of `latency` stand at the top (`p99_ms`). Results of the same `format` can be read; the results of
/// several generators merge.
struct LoadResult: Sendable, Hashable {
    static let format = 1

    enum Model: String, Codable, Sendable {
        /// Calls are sent when they are due, whether or not others were answered.
        case open
        /// Each answer starts the next call.
        case closed
    }

    var toolVersion: String
    /// When the measurement began.
    var startTime: Date
    var endpoint: String
    var scenario: String
    var model: Model
    /// How calls are spread over time, as `poisson` or `constant`; empty in a closed loop.
    var arrivals: String
    var seed: UInt64
    /// Calls a second; 0 in a closed loop.
    var rateWanted: Double
    /// Calls answered a second.
    var rateReached: Double
    var duration: Double
    var warmup: Double
    /// Calls that were due within the measurement (open) or sent in it (closed); those of `notSent` too.
    var sent: UInt64
    /// Of these, answered well.
    var answered: UInt64
    /// Of these, failed, by status code, as `UNAVAILABLE`; `sent` is `answered` and these.
    var errors: [String: UInt64]
    /// From the moment a call was due (open) or sent (closed) to its answer, the failed ones included. Those never sent have none.
    var latency: LatencyRecord
    /// Of these, the calls that were answered well: where many are refused at once, the latency of all is better than theirs.
    var answeredLatency: LatencyRecord?
    var methods: [Method]
    /// One for each second.
    var intervals: [Interval]
    var generator: Generator
    /// What a closed loop is made of; nothing of an open load.
    var closed: Closed?
    /// What the server said of itself meanwhile, if it was asked.
    var server: Server?
    var slo: [SLOOutcome]

    /// A closed loop: how many calls it keeps under way.
    struct Closed: Codable, Sendable, Hashable {
        var connections: Int
        /// Calls under way on each connection.
        var inFlight: Int
        /// Calls that ended, those of the warm-up and after the end too.
        var ended: UInt64
        /// Memberships that answers said are IN: none where the data set is not the one that was seeded.
        var members: UInt64

        enum CodingKeys: String, CodingKey {
            case connections, ended, members
            case inFlight = "in_flight_each"
        }

        var description: String { "\(connections) x \(inFlight) calls in flight" }
    }

    struct Method: Sendable, Hashable {
        var method: String
        var sent: UInt64
        var errors: [String: UInt64]
        var latency: LatencyRecord
    }

    /// One second of the run.
    struct Interval: Sendable, Hashable {
        /// Its begin.
        var at: Double
        /// Calls that were due.
        var wanted: UInt64
        /// Calls sent.
        var sent: UInt64
        /// Calls answered well within it.
        var answered: UInt64
        /// Of these, those of the last interval that were answered after the end of the load: no part of its rate.
        var answeredLate: UInt64 = 0
        /// Calls failed within it.
        var errors: UInt64
        /// Calls under way, the mean over the interval.
        var inFlight: Double
        /// How much later than due one of a hundred of the calls sent was sent, or later still, in milliseconds; nothing where none
        /// was sent and in a closed loop.
        var lagP99: Double?
        /// Of the calls that ended within it; two significant digits are enough and keep files small.
        var latency: LatencyRecord
    }

    /// Whether the generator itself kept up.
    struct Generator: Codable, Sendable, Hashable {
        /// How much later than due calls were sent; 0 in a closed loop, where none is due.
        var lagP99: Double
        var lagMax: Double
        /// Processor time of the busiest thread over the time that passed, 0 to 1.
        var cpuRatio: Double
        /// Whether it was the limit, so that the result says nothing of the server.
        var isBottleneck: Bool
        var reason: String?

        enum CodingKeys: String, CodingKey {
            case lagP99 = "lag_p99_ms"
            case lagMax = "lag_max_ms"
            case cpuRatio = "cpu_ratio"
            case isBottleneck = "is_bottleneck"
            case reason
        }
    }

    struct Server: Codable, Sendable, Hashable {
        var version: String?
        /// Processors it may use, if known.
        var processors: Int?
        var series: [Series]
    }

    /// One figure of the server over time.
    struct Series: Codable, Sendable, Hashable {
        /// The metric, and what is told of it: `process.cpu.time rate`, `cohort.eventloop.lag p99`.
        var name: String
        /// UCUM, as the server states it, and `/s` behind it for rates.
        var unit: String
        var points: [Point]

        struct Point: Sendable, Hashable {
            var at: Double
            var value: Double
        }
    }

    struct SLOOutcome: Codable, Sendable, Hashable {
        /// As it was written: `p99<5ms`.
        var term: String
        /// In the term's unit; infinite where calls that were never sent decide.
        var measured: Double
        var isMet: Bool

        /// With its unit, to four digits, so that what misses by little does not look like the limit.
        var measuredText: String {
            guard measured.isFinite else { return "endless" }
            let unit =
                term.hasPrefix("rate") ? "/s" : " " + term.reversed().prefix { $0.isLetter || $0 == "%" }.reversed()
            return String(format: "%.4g", measured) + unit
        }

        enum CodingKeys: String, CodingKey {
            case term, measured
            case isMet = "is_met"
        }
    }

    var failed: UInt64 { errors.values.reduce(0, +) }

    /// Calls that were due and could not be sent: too many were under way, or no connection was there.
    var notSent: UInt64 { sent - min(sent, latency.count) }

    /// Calls whose answer nobody waited for any longer.
    var unanswered: UInt64 { errors[Self.unansweredName] ?? 0 }
    static let unansweredName = "UNANSWERED"

    /// What a reader has to know before believing the figures; empty where there is nothing.
    var warnings: [String] {
        var warnings: [String] = []
        if notSent > 0 {
            warnings.append(
                "\(Format.count(notSent)) of \(Format.count(sent)) calls that were due were never sent: latencies are those of the "
                    + "others, and objectives take them for endless"
            )
        }
        if model == .closed {
            warnings.append(
                "in a closed loop each answer starts the next call, so latencies count from when a call was sent and not from when "
                    + "callers would have sent it: a server that stalls is asked less, and looks better than it is"
            )
            if generator.cpuRatio > 0.9 {
                warnings.append(
                    "the generator used \(Format.percent(generator.cpuRatio)) of its processor: the rate may be its own and not the "
                        + "server's"
                )
            }
            if let closed, answered > 0, closed.members == 0 {
                warnings.append("no answer said IN: the customers or the cohort are not those that were seeded")
            }
        }
        return warnings
    }

    /// Failed calls over calls sent, 0 to 1.
    var errorRatio: Double { sent == 0 ? 0 : Double(failed) / Double(sent) }

    /// Calls under way, the mean over the measurement.
    var meanInFlight: Double {
        guard duration > 0 else { return 0 }
        return zip(intervals, lengths).reduce(0) { $0 + $1.0.inFlight * $1.1 } / duration
    }

    /// Of the intervals, in seconds: the last one may be shorter than the others.
    var lengths: [Double] {
        zip(intervals, intervals.dropFirst().map(\.at) + [duration]).map { max(0, $1 - $0.at) }
    }
}

// JSON. The percentiles of a record stand beside the figures of what it belongs to, so that `jq .p99_ms` finds them.

extension LoadResult: Codable {
    private enum CodingKeys: String, CodingKey {
        case format, endpoint, scenario, model, arrivals, seed, sent, answered, errors, methods, intervals, generator,
            server
        case closed, slo, warnings
        case notSent = "not_sent"
        case toolVersion = "tool_version"
        case startTime = "start_time"
        case rateWanted = "rate_wanted"
        case rateReached = "rate_reached"
        case duration = "duration_s"
        case warmup = "warmup_s"
        case answeredLatency = "answered_latency"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(Self.format, forKey: .format)
        try container.encode(toolVersion, forKey: .toolVersion)
        try container.encode(startTime.formatted(Self.timeFormat), forKey: .startTime)
        try container.encode(endpoint, forKey: .endpoint)
        try container.encode(scenario, forKey: .scenario)
        try container.encode(model, forKey: .model)
        try container.encode(arrivals, forKey: .arrivals)
        try container.encode(seed, forKey: .seed)
        try container.encode(rateWanted, forKey: .rateWanted)
        try container.encode(rateReached, forKey: .rateReached)
        try container.encode(duration, forKey: .duration)
        try container.encode(warmup, forKey: .warmup)
        try container.encode(sent, forKey: .sent)
        try container.encode(answered, forKey: .answered)
        try container.encode(notSent, forKey: .notSent)
        try container.encode(errors, forKey: .errors)
        try container.encodeIfPresent(answeredLatency, forKey: .answeredLatency)
        try container.encode(methods, forKey: .methods)
        try container.encode(intervals, forKey: .intervals)
        try container.encode(generator, forKey: .generator)
        try container.encodeIfPresent(closed, forKey: .closed)
        try container.encodeIfPresent(server, forKey: .server)
        try container.encode(warnings, forKey: .warnings)
        try container.encode(slo, forKey: .slo)
        try latency.encode(to: encoder)
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let format = try container.decode(Int.self, forKey: .format)
        guard format == Self.format else {
            throw DecodingError.dataCorruptedError(
                forKey: .format,
                in: container,
                debugDescription: "the result has format \(format); this release reads \(Self.format)"
            )
        }
        let time = try container.decode(String.self, forKey: .startTime)
        guard let startTime = try? Date(time, strategy: Self.timeFormat) else {
            throw DecodingError.dataCorruptedError(
                forKey: .startTime,
                in: container,
                debugDescription: "'\(time)' is no time in UTC as 2026-05-01T10:00:00.000Z"
            )
        }
        self.startTime = startTime
        toolVersion = try container.decode(String.self, forKey: .toolVersion)
        endpoint = try container.decode(String.self, forKey: .endpoint)
        scenario = try container.decode(String.self, forKey: .scenario)
        model = try container.decode(Model.self, forKey: .model)
        arrivals = try container.decode(String.self, forKey: .arrivals)
        seed = try container.decode(UInt64.self, forKey: .seed)
        rateWanted = try container.decode(Double.self, forKey: .rateWanted)
        rateReached = try container.decode(Double.self, forKey: .rateReached)
        duration = try container.decode(Double.self, forKey: .duration)
        warmup = try container.decode(Double.self, forKey: .warmup)
        sent = try container.decode(UInt64.self, forKey: .sent)
        answered = try container.decode(UInt64.self, forKey: .answered)
        errors = try container.decode([String: UInt64].self, forKey: .errors)
        answeredLatency = try container.decodeIfPresent(LatencyRecord.self, forKey: .answeredLatency)
        methods = try container.decode([Method].self, forKey: .methods)
        intervals = try container.decode([Interval].self, forKey: .intervals)
        generator = try container.decode(Generator.self, forKey: .generator)
        closed = try container.decodeIfPresent(Closed.self, forKey: .closed)
        server = try container.decodeIfPresent(Server.self, forKey: .server)
        slo = try container.decode([SLOOutcome].self, forKey: .slo)
        latency = try LatencyRecord(from: decoder)
    }

    /// RFC 3339 in UTC, to the millisecond.
    private static let timeFormat = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
}

extension LoadResult.Method: Codable {
    private enum CodingKeys: String, CodingKey { case method, sent, errors }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(method, forKey: .method)
        try container.encode(sent, forKey: .sent)
        try container.encode(errors, forKey: .errors)
        try latency.encode(to: encoder)
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        method = try container.decode(String.self, forKey: .method)
        sent = try container.decode(UInt64.self, forKey: .sent)
        errors = try container.decode([String: UInt64].self, forKey: .errors)
        latency = try LatencyRecord(from: decoder)
    }
}

extension LoadResult.Interval: Codable {
    private enum CodingKeys: String, CodingKey {
        case wanted, sent, answered, errors
        case at = "at_s"
        case answeredLate = "answered_late"
        case inFlight = "in_flight"
        case lagP99 = "lag_p99_ms"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(at, forKey: .at)
        try container.encode(wanted, forKey: .wanted)
        try container.encode(sent, forKey: .sent)
        try container.encode(answered, forKey: .answered)
        if answeredLate > 0 { try container.encode(answeredLate, forKey: .answeredLate) }
        try container.encode(errors, forKey: .errors)
        try container.encode(inFlight, forKey: .inFlight)
        try container.encodeIfPresent(lagP99, forKey: .lagP99)
        try latency.encode(to: encoder)
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        at = try container.decode(Double.self, forKey: .at)
        wanted = try container.decode(UInt64.self, forKey: .wanted)
        sent = try container.decode(UInt64.self, forKey: .sent)
        answered = try container.decode(UInt64.self, forKey: .answered)
        answeredLate = try container.decodeIfPresent(UInt64.self, forKey: .answeredLate) ?? 0
        errors = try container.decode(UInt64.self, forKey: .errors)
        inFlight = try container.decode(Double.self, forKey: .inFlight)
        lagP99 = try container.decodeIfPresent(Double.self, forKey: .lagP99)
        latency = try LatencyRecord(from: decoder)
    }
}

/// A pair, `[at, value]`.
extension LoadResult.Series.Point: Codable {
    func encode(to encoder: any Encoder) throws {
        var container = encoder.unkeyedContainer()
        try container.encode(at)
        try container.encode(value)
    }

    init(from decoder: any Decoder) throws {
        var container = try decoder.unkeyedContainer()
        at = try container.decode(Double.self)
        value = try container.decode(Double.self)
    }
}

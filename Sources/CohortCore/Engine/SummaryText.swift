/// An explanation in one sentence.
struct SummaryText {
    /// Scalars of an id, an expression or a value that are shown.
    private static let longest = 120

    private let explanation: MembershipExplanation
    private let cohort: String
    private let customer: String
    private let serves: Bool
    /// What the rule says; `nil` without one.
    private let says: Membership?
    /// The attributes that what decides reads.
    private let reading: [String]

    init(
        _ explanation: MembershipExplanation,
        _ cohort: String,
        _ customer: String,
        serves: Bool,
        says: Membership? = nil,
        reading: [String] = []
    ) {
        self.explanation = explanation
        self.cohort = cohort
        self.customer = Self.clip(customer)
        self.serves = serves
        self.says = says
        self.reading = reading
    }

    var text: String {
        let place =
            "\(explanation.membership.text) \(explanation.membership == .out ? "of " : "")\(preposition)\(cohort)"
        let start =
            serves
            ? "\(customer) is \(place)\(since)"
            : "By version \(explanation.cohortVersion), which does not serve, \(customer) would be \(place)"
        return "\(start) because \(because)."
    }

    private var preposition: String { explanation.membership == .unknown ? "in " : "" }

    private var since: String {
        explanation.since.map { " since \($0.time) (sequence \($0.sequence))" } ?? ""
    }

    private var because: String {
        switch explanation.reason {
        case .overrideInclude: "an override includes it\(besides)"
        case .overrideExclude: "an override excludes it\(besides)"
        case .listed: "it is on the list"
        case .notListed: "it is not on the list"
        case .customerNotFound: "there is no such customer"
        case .building: "the cohort's first version is being built"
        case .ruleMatch, .ruleNoMatch, .ruleError:
            says == nil || says == explanation.membership ? decision : explanation.detail
        }
    }

    private var besides: String { says.map { "; the rule says \($0.text)" } ?? "" }

    /// What the outcome hangs on, and the attributes in it.
    private var decision: String {
        guard let deciding = explanation.expressions.first(where: \.isDeciding) else { return "of its rule" }
        let source = Self.clip(deciding.source)
        guard deciding.error.isEmpty else {
            return "\(source) cannot be evaluated: \(Self.clip(deciding.error))"
        }
        let values = reading.prefix(8).map { name in
            "\(name) is \(explanation.attributes[name].map(Self.clip) ?? "absent")"
        }
        let result = "\(source) is \(Self.clip(deciding.value))"
        return values.isEmpty ? result : "\(result): \(values.joined(separator: ", "))"
    }

    /// On one line, and not too long.
    static func clip(_ text: String) -> String {
        let line = text.unicodeScalars.map { $0 == "\n" || $0 == "\r" || $0 == "\t" ? " " : $0 }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: line.prefix(longest))
        return line.count > longest ? String(result) + "…" : String(result)
    }
}

extension Membership {
    /// For people.
    var text: String {
        switch self {
        case .in: "IN"
        case .out: "OUT"
        case .unknown: "UNKNOWN"
        }
    }
}

/// What names, ids and values may look like. Each check returns what is wrong, fit for a caller, or `nil`.
package enum InputRules {
    static let celReserved: Set<String> = [
        "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
        "namespace", "null", "package", "return", "true", "var", "void", "while",
    ]

    /// 1 to `limit` bytes without control characters (Unicode category Cc).
    package static func customerID(_ id: String, limit: Int = 256) -> String? {
        let count = id.utf8.count
        if count == 0 { return "must not be empty; give the id of the customer" }
        if count > limit { return "has \(count) bytes; at most \(limit) are allowed" }
        var previous: UInt8 = 0
        for byte in id.utf8 {
            // U+0080 to U+009F are C2 80 to C2 9F.
            if byte < 0x20 || byte == 0x7f || (previous == 0xc2 && byte < 0xa0) {
                return "contains a control character; ids are printable text"
            }
            previous = byte
        }
        return nil
    }

    /// Whether bytes are what `customerID` lets pass.
    static func isCustomerID(_ id: UnsafeRawBufferPointer, limit: Int) -> Bool {
        guard (1...limit).contains(id.count) else { return false }
        // Nearly every id is printable ASCII, and needs no string made of it.
        if id.allSatisfy({ (0x20..<0x7f).contains($0) }) { return true }
        return String(validating: id, as: UTF8.self).map { customerID($0, limit: limit) == nil } ?? false
    }

    /// `[a-z][a-z0-9_]{0,62}`, and no reserved word of CEL.
    package static func attributeName(_ name: String) -> String? {
        guard matches(name, first: { (97...122).contains($0) }, rest: { (97...122).contains($0) }) else {
            return "must be 1 to 63 characters, lower-case letters, digits and '_', beginning with a letter"
        }
        if celReserved.contains(name) {
            return "'\(name)' is a reserved word of the rule language; choose another name"
        }
        return nil
    }

    /// `[A-Z][A-Z0-9_]{0,62}`.
    package static func cohortID(_ id: String) -> String? {
        guard matches(id, first: { (65...90).contains($0) }, rest: { (65...90).contains($0) }) else {
            return "must be 1 to 63 characters, upper-case letters, digits and '_', beginning with a letter"
        }
        return nil
    }

    private static func matches(_ text: String, first: (UInt8) -> Bool, rest: (UInt8) -> Bool) -> Bool {
        let bytes = text.utf8
        guard let head = bytes.first, bytes.count <= 63, first(head) else { return false }
        return bytes.dropFirst().allSatisfy { rest($0) || (48...57).contains($0) || $0 == 95 }
    }

    /// A value within the limits; NaN and infinities are none.
    static func value(_ value: AttributeValue, _ configuration: EngineConfiguration) -> String? {
        switch value {
        case .bool, .int64, .timestamp:
            return nil
        case .double(let number):
            return number.isFinite ? nil : "must be a finite number; NaN and infinities are refused"
        case .string(let text):
            return string(text, configuration)
        case .stringList(let texts):
            if texts.count > configuration.maximumListElements {
                return "has \(texts.count) elements; at most \(configuration.maximumListElements) are allowed"
            }
            for (i, text) in texts.enumerated() {
                if let problem = string(text, configuration) { return "element \(i) \(problem)" }
            }
            return nil
        }
    }

    private static func string(_ text: String, _ configuration: EngineConfiguration) -> String? {
        let count = text.utf8.count
        guard count > configuration.maximumStringBytes else { return nil }
        return "has \(count) bytes; at most \(configuration.maximumStringBytes) are allowed"
    }
}

/// Puts checked against the declarations and turned into what the committer takes.
struct PutResolver {
    let catalog: CatalogState
    let configuration: EngineConfiguration
    let now: Timestamp

    func resolve(_ put: CustomerPut) throws(DomainError) -> ResolvedPut {
        var violations: [FieldViolation] = []
        if let problem = InputRules.customerID(put.customerID, limit: configuration.maximumCustomerIDBytes) {
            violations.append(FieldViolation(field: "customer_id", description: problem))
        }
        if let time = put.eventTime, time > now.advanced(bySeconds: configuration.maximumEventTimeLead) {
            violations.append(
                FieldViolation(
                    field: "event_time",
                    description: "is more than \(configuration.maximumEventTimeLead) seconds ahead of the server's "
                        + "clock; check the clock and the time zone of the source"
                )
            )
        }
        if put.attributes.count > configuration.maximumAttributesPerCustomer {
            violations.append(
                FieldViolation(
                    field: "attributes",
                    description: "has \(put.attributes.count) entries; a customer has at most "
                        + "\(configuration.maximumAttributesPerCustomer) attributes"
                )
            )
        } else {
            violations += check(put.attributes)
        }
        guard violations.isEmpty else { throw .invalidArgument(violations) }
        return ResolvedPut(
            id: Array(put.customerID.utf8),
            attributes: put.attributes.compactMap { name, value in catalog.slots[name].map { ($0, value) } },
            eventTime: put.eventTime
        )
    }

    private func check(_ attributes: [(name: String, value: AttributeValue?)]) -> [FieldViolation] {
        var violations: [FieldViolation] = []
        for (i, (name, value)) in attributes.enumerated() {
            if attributes[..<i].contains(where: { $0.name == name }) {
                violations.append(FieldViolation(field: "attributes.\(name)", description: "is given twice"))
                continue
            }
            guard let slot = catalog.slots[name] else {
                violations.append(undeclared(name))
                continue
            }
            guard let value else { continue }
            let declared = catalog.attributes[slot].type
            if value.type != declared {
                violations.append(
                    FieldViolation(
                        field: "attributes.\(name)",
                        description: "is declared \(declared.name) but the value is \(value.type.name)"
                    )
                )
            } else if let problem = InputRules.value(value, configuration) {
                violations.append(FieldViolation(field: "attributes.\(name)", description: problem))
            }
        }
        return violations
    }

    private func undeclared(_ name: String) -> FieldViolation {
        let shown = String(name.prefix(64))
        let hint =
            NearestName.find(name, among: catalog.slots.keys).map { "did you mean '\($0)'?" }
            ?? "declare it first, or correct the name"
        return FieldViolation(field: "attributes.\(shown)", description: "'\(shown)' is not declared; \(hint)")
    }
}

/// Attributes and cohorts as the log has them, without counts.
struct CatalogState: Sendable {
    private(set) var attributes: [AttributeDeclaration] = []
    private(set) var slots: [String: Int] = [:]
    private(set) var cohorts: [CohortRecord] = []
    private(set) var numbers: [String: CohortNumber] = [:]
    var requests = ChangeRequests()

    init() {}

    init(_ stored: StoredCatalog) {
        for attribute in stored.attributes { declare(attribute) }
        for cohort in stored.cohorts { set(cohort) }
        requests = ChangeRequests(stored.requests)
    }

    mutating func declare(_ attribute: AttributeDeclaration) {
        slots[attribute.name] = attribute.slot
        attributes.append(attribute)
    }

    /// Adds a cohort, or replaces the one of its number.
    mutating func set(_ cohort: CohortRecord) {
        if Int(cohort.number) < cohorts.count {
            cohorts[Int(cohort.number)] = cohort
        } else {
            cohorts.append(cohort)
            numbers[cohort.id] = cohort.number
        }
    }

    /// The cohort called `id` unless it does not exist or is archived.
    func cohort(_ id: String) throws(DomainError) -> CohortRecord {
        if let problem = InputRules.cohortID(id) { throw .invalid("cohort_id", problem) }
        guard let number = numbers[id], cohorts[Int(number)].state != .archived else { throw notFound(cohort: id) }
        return cohorts[Int(number)]
    }

    func notFound(cohort id: String) -> DomainError {
        let live = cohorts.lazy.filter { $0.state != .archived }.map(\.id)
        return .notFound(resourceType: "cohort", name: id, suggestion: NearestName.find(id, among: live))
    }
}

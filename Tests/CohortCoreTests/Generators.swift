@testable import CohortCore

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere for a seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func timestamp() -> Timestamp {
        switch Int.random(in: 0..<8, using: &self) {
        case 0: return .minimum
        case 1: return .maximum
        case 2: return .epoch
        default:
            return Timestamp(
                seconds: Int64.random(in: Timestamp.minimum.seconds...Timestamp.maximum.seconds, using: &self),
                nanoseconds: Int32.random(in: 0...999_999_999, using: &self)
            )!
        }
    }

    mutating func text() -> String {
        let words = ["", "a", "naïve", "日本語", "e\u{301}", "\u{10FFFF}", String(repeating: "x", count: 300)]
        return words.randomElement(using: &self)!
    }

    /// Small, or anything.
    mutating func number() -> UInt64 {
        let bits = UInt64.random(in: 0...63, using: &self)
        return next() >> bits
    }

    mutating func value() -> AttributeValue {
        switch Int.random(in: 0..<6, using: &self) {
        case 0: .bool(Bool.random(using: &self))
        case 1: .int64(Int64(bitPattern: next()))
        case 2: .double([0, -0.0, .pi, .greatestFiniteMagnitude, .leastNonzeroMagnitude].randomElement(using: &self)!)
        case 3: .string(text())
        case 4: .timestamp(timestamp())
        default: .stringList((0..<Int.random(in: 0...4, using: &self)).map { _ in text() })
        }
    }

    mutating func attributes() -> [StoredAttribute] {
        var time = timestamp()
        return (0..<Int.random(in: 0...8, using: &self)).map { slot in
            if Bool.random(using: &self) { time = timestamp() }
            let value: AttributeValue? = Int.random(in: 0..<4, using: &self) == 0 ? nil : value()
            return StoredAttribute(slot: slot * 7, value: value, eventTime: time)
        }
    }

    mutating func cause() -> TransitionCause { TransitionCause(rawValue: UInt8.random(in: 1...7, using: &self))! }

    mutating func record() -> CustomerRecord {
        var record = CustomerRecord(createdSequence: number(), createdAt: timestamp())
        record.sequence = number()
        record.attributes = attributes()
        var (sequence, time) = (number(), timestamp())
        record.intervals = (0..<CohortNumber.random(in: 0...6, using: &self)).map { cohort in
            if Bool.random(using: &self) { (sequence, time) = (number(), timestamp()) }
            return OpenInterval(
                cohort: cohort * 3,
                membership: Bool.random(using: &self) ? .in : .unknown,
                sequence: sequence,
                time: time,
                version: UInt32(truncatingIfNeeded: number()),
                cause: cause()
            )
        }
        return record
    }

    mutating func ordinal() -> Ordinal { Ordinal(truncatingIfNeeded: number()) }

    mutating func change() -> LogEntry.Change {
        switch Int.random(in: 0..<16, using: &self) {
        case 0:
            .attributeDeclared(
                AttributeDeclaration(
                    name: text(),
                    type: AttributeType.allCases.randomElement(using: &self)!,
                    slot: 12,
                    declaredAt: 0
                )
            )
        case 1: .customerErased(ordinal())
        case 6: .customerPutScrubbed(ordinal: ordinal(), isNew: Bool.random(using: &self))
        case 2:
            .cohortCreated(
                CohortRecord(
                    number: ordinal(),
                    id: text(),
                    kind: .rule,
                    failPolicy: .memberOut,
                    description: text(),
                    state: Bool.random(using: &self) ? .active : .building,
                    createdAt: .epoch,
                    updatedAt: .epoch,
                    approvalRequired: Bool.random(using: &self),
                    versions: [
                        CohortVersion(
                            number: 1,
                            rule: text(),
                            created: CohortVersion.Change(sequence: 0, time: .epoch, principal: "")
                        )
                    ]
                )
            )
        case 3: .ruleUpdated(RuleUpdate(cohort: ordinal(), version: ordinal(), rule: text()))
        case 8:
            .ruleUpdated(
                RuleUpdate(cohort: ordinal(), version: ordinal(), rule: text(), note: text(), revertsTo: ordinal())
            )
        case 9: .versionDrafted(RuleUpdate(cohort: ordinal(), version: ordinal(), rule: text(), note: text()))
        case 10: .versionDiscarded(cohort: ordinal(), version: ordinal())
        case 11: .versionPublished(cohort: ordinal(), version: ordinal())
        case 4: .cohortArchived(ordinal())
        case 13: .approvalRequired(cohort: ordinal(), Bool.random(using: &self))
        case 14: .changeRequest(changeRequest())
        case 7:
            .assignmentsStaged(
                AssignmentReference(stage: number(), cohort: ordinal(), added: number(), removed: number())
            )
        case 5:
            .assignmentsChanged(
                (0..<Int.random(in: 0...5, using: &self)).map { _ in
                    Assignment(
                        cohort: ordinal(),
                        kind: AssignmentKind.allCases.randomElement(using: &self)!,
                        ordinal: ordinal(),
                        present: Bool.random(using: &self)
                    )
                }
            )
        default:
            .customerPut(
                CustomerChange(
                    ordinal: ordinal(),
                    newID: Bool.random(using: &self) ? nil : Array("id\(next())".utf8),
                    attributes: attributes()
                )
            )
        }
    }

    mutating func changeRequest() -> ChangeRequest {
        let actions: [ChangeRequest.Action] = [
            .publish(version: ordinal(), over: ordinal()), .archive, .waiveApproval,
            .eraseMembers(MemberSelection(expected: number(), limit: number())),
        ]
        var decision: ChangeRequest.Decision?
        if Bool.random(using: &self) {
            decision = ChangeRequest.Decision(
                time: timestamp(),
                principal: text(),
                note: text(),
                detail: text(),
                effect: number(),
                erasure: Bool.random(using: &self)
                    ? nil
                    : MemberErasure(
                        total: number(),
                        erased: number(),
                        alreadyGone: number(),
                        isDone: Bool.random(using: &self)
                    )
            )
        }
        return ChangeRequest(
            number: number(),
            cohort: ordinal(),
            action: actions.randomElement(using: &self)!,
            author: text(),
            createdAt: timestamp(),
            expiresAt: Bool.random(using: &self) ? nil : timestamp(),
            state: [.pending, .approved, .rejected, .expired, .superseded].randomElement(using: &self)!,
            decision: decision
        )
    }

    mutating func entry() -> LogEntry {
        let memberships: [Membership] = [.out, .in, .unknown]
        return LogEntry(
            sequence: number(),
            time: timestamp(),
            principal: text(),
            method: text(),
            change: change(),
            transitions: (0..<Int.random(in: 0...4, using: &self)).map { _ in
                Transition(
                    ordinal: ordinal(),
                    cohort: ordinal(),
                    from: memberships.randomElement(using: &self)!,
                    to: memberships.randomElement(using: &self)!,
                    version: ordinal(),
                    cause: cause()
                )
            },
            bulks: (0..<Int.random(in: 0...3, using: &self)).map { _ in
                BulkReference(
                    stage: number(),
                    cohort: ordinal(),
                    version: ordinal(),
                    cause: cause(),
                    toIn: number(),
                    toOut: number(),
                    toUnknown: number()
                )
            }
        )
    }
}

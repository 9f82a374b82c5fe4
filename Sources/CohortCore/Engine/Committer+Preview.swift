import CEL

/// What a build has found, told instead of taken into effect.
extension Committer {
    func preview(_ built: BuiltMembership, sample: Int) throws(DomainError) -> PublishPreview {
        var diffs: [MembershipDiff] = []
        let derivation = built.derivation
        for (place, step) in derivation.steps.enumerated() {
            guard let rule = step.rule else { continue }
            let moves = built.moves[place]
            if place > 0, moves.isEmpty { continue }
            diffs.append(try diff(rule, place, built, sample: sample))
        }
        let errors = built.failures?.customers.compactMap { reason, set in
            set.isEmpty
                ? nil : RuleErrorCount(attribute: reason.attribute, detail: reason.detail, customers: set.count)
        }
        return PublishPreview(
            sequence: sequence,
            diffs: diffs,
            customers: shared.index.size.customers,
            errors: (errors ?? []).sorted { ($1.customers, $0.detail) < ($0.customers, $1.detail) }
        )
    }

    private func diff(
        _ rule: CompiledRule,
        _ place: Int,
        _ built: BuiltMembership,
        sample: Int
    ) throws(DomainError) -> MembershipDiff {
        let (cohort, moves) = (rule.cohort, built.moves[place])
        let bitmaps = shared.index.bitmaps[Int(cohort)]
        let leaving = bitmaps.members.intersection(moves.toOut.union(moves.toUnknown))
        let unknownToOut = bitmaps.unknown.intersection(moves.toOut).count
        let unknownToIn = bitmaps.unknown.intersection(moves.toIn).count
        let (members, unknown) = (bitmaps.members.count, bitmaps.unknown.count)
        return MembershipDiff(
            cohort: catalog.cohorts[Int(cohort)].id,
            entering: moves.toIn.count,
            leaving: leaving.count,
            becomingUnknown: moves.toUnknown.count,
            unknownToOut: unknownToOut,
            membersBefore: members,
            membersAfter: members - leaving.count + moves.toIn.count,
            unknownBefore: unknown,
            unknownAfter: unknown - unknownToIn - unknownToOut + moves.toUnknown.count,
            enteringSample: try previewed(moves.toIn.sample(sample), rule, built),
            leavingSample: try previewed(leaving.sample(sample), rule, built),
            becomingUnknownSample: try previewed(moves.toUnknown.sample(sample), rule, built)
        )
    }

    private func previewed(
        _ ordinals: [Ordinal],
        _ rule: CompiledRule,
        _ built: BuiltMembership
    ) throws(DomainError) -> [PreviewedCustomer] {
        let loaded: [Ordinal: Loaded]
        do throws(StoreError) {
            loaded = try load(ordinals)
        } catch {
            throw answer(to: error)
        }
        return ordinals.compactMap { ordinal -> PreviewedCustomer? in
            guard let record = loaded[ordinal]?.record else { return nil }
            classifier.load(record.attributes, slots: catalog.attributes.count)
            func membership(after cohort: CohortNumber) -> Membership {
                built.membership(of: ordinal, in: cohort) ?? self.membership(of: ordinal, in: cohort)
            }
            let after = membership(after: rule.cohort)
            let explanation = classifier.explain(rule) { membership(after: $0) }
            var detail = ""
            if after == .unknown, case .error(let error) = explanation.outcome { detail = error.description }
            return PreviewedCustomer(
                id: customerID(ordinal),
                before: self.membership(of: ordinal, in: rule.cohort),
                after: after,
                attributes: rule.attributes(of: record),
                deciding: explanation.deciding?.text ?? "",
                detail: detail
            )
        }
    }
}

extension ChunkedBitmap {
    /// Up to `count` members spread evenly over all of them, in order.
    func sample(_ count: Int) -> [Ordinal] {
        guard count > 0, self.count > 0 else { return [] }
        let wanted = min(UInt64(count), self.count)
        var result: [Ordinal] = []
        var place: UInt64 = 0
        forEach { ordinal in
            // The middle of each of as many equal parts.
            if place == (2 * UInt64(result.count) + 1) * self.count / (2 * wanted) { result.append(ordinal) }
            place += 1
            return result.count < Int(wanted)
        }
        return result
    }
}

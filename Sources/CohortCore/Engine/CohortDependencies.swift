/// Which cohorts read which, by `in_cohort` in their rules.
struct CohortDependencies {
    /// By cohort number; `nil` where there is no rule.
    private let rules: [CompiledRule?]

    init(_ rules: [CompiledRule?]) { self.rules = rules }

    /// As `rules` would be with another rule for one cohort.
    init(_ rules: [CompiledRule?], with rule: CompiledRule) {
        var rules = rules
        while rules.count <= Int(rule.cohort) { rules.append(nil) }
        rules[Int(rule.cohort)] = rule
        self.rules = rules
    }

    private func references(of cohort: CohortNumber) -> [CohortNumber] {
        Int(cohort) < rules.count ? rules[Int(cohort)]?.references ?? [] : []
    }

    /// The rules, each after those that it reads, else in order of number. There is no circle among them.
    func ordered() -> [CompiledRule] {
        var present = rules.compactMap { $0 }
        guard present.contains(where: \.hasReferences) else { return present }
        var depths: [CohortNumber: Int] = [:]
        for rule in present { _ = depth(rule.cohort, &depths) }
        present.sort { (depths[$0.cohort] ?? 0, $0.cohort) < (depths[$1.cohort] ?? 0, $1.cohort) }
        return present
    }

    /// Those whose rules read `cohort` themselves, ascending.
    func readers(of cohort: CohortNumber) -> [CohortNumber] {
        rules.lazy.compactMap { $0 }.filter { $0.references.contains(cohort) }.map(\.cohort)
    }

    /// Those that depend on one of `cohorts`, at first or second hand, in order of `active`.
    static func dependents(of cohorts: Set<CohortNumber>, among active: [CompiledRule]) -> [CompiledRule] {
        var concerned = cohorts
        return active.filter { rule in
            guard rule.hasReferences, rule.references.contains(where: { concerned.contains($0) }) else { return false }
            return concerned.insert(rule.cohort).inserted
        }
    }

    /// A way from `cohort` back to itself, both ends included; `nil` if there is none.
    func circle(through cohort: CohortNumber) -> [CohortNumber]? {
        var from: [CohortNumber: CohortNumber] = [:]
        var next = [cohort]
        while let current = next.popLast() {
            for reference in references(of: current) {
                if reference == cohort {
                    var path = [cohort]
                    var step = current
                    while step != cohort {
                        path.insert(step, at: 0)
                        step = from[step] ?? cohort
                    }
                    return [cohort] + path
                }
                guard from[reference] == nil else { continue }
                from[reference] = current
                next.append(reference)
            }
        }
        return nil
    }

    /// The longest chain in which each cohort reads the next, that goes through `cohort`. There is no circle.
    func longestChain(through cohort: CohortNumber) -> [CohortNumber] {
        var depths: [CohortNumber: Int] = [:]
        for rule in rules { if let rule { _ = depth(rule.cohort, &depths) } }
        var down = [cohort]
        _ = depth(cohort, &depths)
        while let next = references(of: down[down.count - 1]).max(by: { (depths[$0] ?? 0) < (depths[$1] ?? 0) }) {
            down.append(next)
        }
        // Upwards: from whom the way to `cohort` is longest, in order of depth.
        var above: [CohortNumber: [CohortNumber]] = [cohort: []]
        for rule in ordered() where rule.hasReferences {
            let best = rule.references.compactMap { reference in above[reference].map { [reference] + $0 } }
                .max { $0.count < $1.count }
            if let best, rule.cohort != cohort { above[rule.cohort] = best }
        }
        let longest = above.max { ($0.value.count, $1.key) < ($1.value.count, $0.key) }
        let up = longest.map { $0.value.isEmpty ? [] : [$0.key] + $0.value.dropLast() } ?? []
        return up + down
    }

    /// How many references the longest chain below a cohort has.
    private func depth(_ cohort: CohortNumber, _ depths: inout [CohortNumber: Int]) -> Int {
        if let known = depths[cohort] { return known }
        var deepest = 0
        for reference in references(of: cohort) { deepest = max(deepest, depth(reference, &depths) + 1) }
        depths[cohort] = deepest
        return deepest
    }
}

extension Committer {
    /// Refuses a rule by which a cohort would depend on itself, or a chain of cohorts would become too long.
    func checkDependencies(of rule: CompiledRule, _ cohort: CohortRecord) throws(DomainError) {
        guard rule.hasReferences else { return }
        let dependencies = CohortDependencies(rules.rules, with: rule)
        func text(_ path: [CohortNumber]) -> String {
            path.map { $0 == cohort.number ? cohort.id : catalog.cohorts[Int($0)].id }.joined(separator: " -> ")
        }
        if let circle = dependencies.circle(through: cohort.number) {
            throw .failedPrecondition(
                code: "COHORT_CYCLE",
                message: "by this rule \(cohort.id) would depend on itself: \(text(circle)). Take one of these "
                    + "references out."
            )
        }
        let chain = dependencies.longestChain(through: cohort.number)
        let limit = configuration.maximumCohortDepth
        guard chain.count - 1 <= limit else {
            throw .failedPrecondition(
                code: "COHORT_DEPTH",
                message: "by this rule \(chain.count - 1) references follow each other, at most \(limit) may: "
                    + "\(text(chain))."
            )
        }
    }

    /// Refuses to archive a cohort that rules of others read.
    func checkUnused(_ cohort: CohortRecord) throws(DomainError) {
        let users = CohortDependencies(rules.rules).readers(of: cohort.number).map { catalog.cohorts[Int($0)].id }
        guard users.isEmpty else {
            let shown =
                users.prefix(20).joined(separator: ", ") + (users.count > 20 ? " and \(users.count - 20) more" : "")
            throw .failedPrecondition(
                code: "COHORT_IN_USE",
                message: "\(cohort.id) is in use by the rules of \(shown). Change or archive those first."
            )
        }
    }
}

/// What entries do to the catalogue and the rules.
extension Committer {
    /// Applies to catalogue and rules what an entry says; the same for a new entry and for one replayed.
    func apply(
        _ entry: LogEntry,
        _ changes: inout PendingChanges,
        bulks: [BulkChange] = [],
        assignments: AssignmentChange? = nil
    ) {
        switch entry.change {
        case .attributeDeclared(let given):
            let declaration = AttributeDeclaration(
                name: given.name,
                type: given.type,
                slot: given.slot,
                declaredAt: entry.sequence
            )
            catalog.declare(declaration)
            rules.declare(catalog.attributes)
            changes.attributes.append(declaration)
        case .cohortCreated(var cohort):
            cohort.createdAt = entry.time
            cohort.updatedAt = entry.time
            let change = CohortVersion.Change(entry)
            cohort = CohortRecord(
                cohort,
                first: CohortVersion(
                    number: 1,
                    rule: cohort.rule,
                    created: change,
                    published: cohort.state == .building ? nil : change
                )
            )
            replace(cohort, &changes)
        case .ruleUpdated(let update):
            var cohort = catalog.cohorts[Int(update.cohort)]
            cohort.add(CohortVersion(update, entry, isPublished: true))
            cohort.state = .active
            cohort.updatedAt = entry.time
            replace(cohort, &changes)
        case .versionDrafted(let update):
            var cohort = catalog.cohorts[Int(update.cohort)]
            cohort.add(CohortVersion(update, entry, isPublished: false))
            keep(cohort, &changes)
        case .versionDiscarded(let number, let version):
            var cohort = catalog.cohorts[Int(number)]
            cohort.discard(version)
            keep(cohort, &changes)
        case .versionPublished(let number, let version):
            var cohort = catalog.cohorts[Int(number)]
            cohort.publish(version, CohortVersion.Change(entry))
            cohort.state = .active
            cohort.updatedAt = entry.time
            replace(cohort, &changes)
        case .cohortArchived(let number):
            var cohort = catalog.cohorts[Int(number)]
            cohort.state = .archived
            cohort.updatedAt = entry.time
            replace(cohort, &changes)
        case .approvalRequired(let number, let isRequired):
            var cohort = catalog.cohorts[Int(number)]
            cohort.approvalRequired = isRequired
            keep(cohort, &changes)
        case .changeRequest(let request):
            let dropped = catalog.requests.keep(request)
            changes.requests.append((request.number, request))
            changes.requests += dropped.map { ($0, nil) }
        case .assignmentsChanged(let assignments):
            changes.assignments.add(assignments)
            for number in Set(assignments.map(\.cohort)).sorted() { touch(number, entry, &changes) }
        case .assignmentsStaged(let reference):
            if let assignments { changes.assignments.add(assignments) }
            touch(reference.cohort, entry, &changes)
        case .customerPut, .customerErased, .customerPutScrubbed:
            break
        }
        for bulk in bulks {
            self.bulks.append(AppliedBulk(sequence: entry.sequence, time: entry.time, change: bulk))
            changes.bulks.append((bulk.stage, entry.sequence, entry.time))
        }
    }

    /// Notes that overrides or list have changed. The rule stays, and so need not be compiled again.
    private func touch(_ number: CohortNumber, _ entry: LogEntry, _ changes: inout PendingChanges) {
        var cohort = catalog.cohorts[Int(number)]
        cohort.updatedAt = entry.time
        keep(cohort, &changes)
    }

    private func keep(_ cohort: CohortRecord, _ changes: inout PendingChanges) {
        catalog.set(cohort)
        changes.cohorts.append(cohort)
    }

    private func replace(_ cohort: CohortRecord, _ changes: inout PendingChanges) {
        keep(cohort, &changes)
        installRule(of: cohort)
    }

    /// Compiles all serving rules, once the catalogue is whole: a rule may read a cohort that was created after its own.
    func installRules() {
        for cohort in catalog.cohorts { installRule(of: cohort) }
    }

    /// Compiles the serving rule. It compiled when it was accepted; if it does not now, the cohort's customers keep what
    /// they have, and the problem is shown.
    func installRule(of cohort: CohortRecord) {
        guard cohort.state == .active, let source = cohort.rule else { return rules.set(nil, for: cohort.number) }
        do throws(DomainError) {
            rules.set(try rules.compile(source, cohort: cohort, version: cohort.version, catalog), for: cohort.number)
        } catch {
            rules.set(nil, for: cohort.number)
            shared.setProblem(.rules, "the rule of \(cohort.id) no longer compiles; its memberships stand still")
            shared.log(.error, "a stored rule no longer compiles", [("cohort", cohort.id)])
        }
    }
}

extension CohortVersion {
    fileprivate init(_ update: RuleUpdate, _ entry: LogEntry, isPublished: Bool) {
        self.init(
            number: update.version,
            rule: update.rule,
            note: update.note,
            created: Change(entry),
            published: isPublished ? Change(entry) : nil,
            revertsTo: update.revertsTo
        )
    }
}

import ArgumentParser
import CohortAPI
import Foundation
import SwiftProtobuf

struct CohortsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cohorts",
        abstract: "Create, change and look at cohorts.",
        subcommands: [
            Create.self, List.self, Show.self, UpdateRule.self, Draft.self, Preview.self, Publish.self, Revert.self,
            Discard.self, Versions.self, Override.self, Static.self, Archive.self, Apply.self,
            RequireApproval.self, Pending.self, Approve.self, Reject.self,
        ]
    )

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "create", abstract: "Create a cohort.")

        @Argument(help: "Its id: capital letters, digits and _.") var id: String
        @Option(help: ArgumentHelp("A CEL expression over customer.<attribute>.", valueName: "expr")) var rule: String?
        @Flag(help: "A list kept by hand instead of a rule.") var `static` = false
        @Option(help: "What UNKNOWN means to callers that want a boolean: in, out or unknown.")
        var failPolicy = "unknown"
        @Option(help: "For people.") var description = ""
        @Flag(help: "Have someone else approve its later changes.") var requireApproval = false
        @ParentCommand var root: Cohortctl

        func validate() throws {
            guard (rule != nil) != `static` else { throw ValidationError("give either --rule or --static") }
            guard FailPolicy(text: failPolicy) != nil else {
                throw ValidationError("--fail-policy is '\(failPolicy)'; it takes in, out or unknown")
            }
        }

        func run() async throws {
            let request = CreateCohortRequest.with {
                $0.cohortID = id
                if let rule { $0.rule = rule } else { $0.static = true }
                $0.failPolicy = FailPolicy(text: failPolicy) ?? .unknown
                $0.description_p = description
                $0.approvalRequired = requireApproval
            }
            try await root.session.withClient { client in
                let answer = try await BuildWatch.run(client, root.session, cohort: id) {
                    try await CohortClient(client).cohorts.createCohort(request, options: root.session.buildOptions)
                }
                try root.session.show(answer) {
                    "created \(id): \(answer.cohort.members) members, \(answer.cohort.unknown) unknown "
                        + "[sequence \(answer.sequence)]"
                }
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "list", abstract: "All cohorts.")

        @Flag(help: "Archived ones as well.") var archived = false
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = ListCohortsRequest.with { $0.includeArchived = archived }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).cohorts.listCohorts(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    var table = Table(["COHORT", "KIND", "STATE", "VERSION", "MEMBERS", "UNKNOWN", "APPROVAL", "RULE"])
                    for cohort in answer.cohorts {
                        table.add([
                            cohort.cohortID, cohort.kind.text, cohort.state.text, String(cohort.version),
                            String(cohort.members), String(cohort.unknown),
                            cohort.approvalRequired ? "required" : "no", cohort.rule,
                        ])
                    }
                    return table.text
                }
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "show", abstract: "One cohort.")

        @Argument(help: "The cohort's id.") var id: String
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = GetCohortRequest.with { $0.cohortID = id }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).cohorts.getCohort(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    let cohort = answer.cohort
                    return """
                        cohort       \(cohort.cohortID) (\(cohort.kind.text), \(cohort.state.text))
                        description  \(cohort.description_p)
                        rule         \(cohort.rule)
                        fail policy  \(cohort.failPolicy.text)
                        approval     \(cohort.approvalRequired ? "required" : "not required")
                        version      \(cohort.version)
                        members      \(cohort.members)
                        unknown      \(cohort.unknown)
                        overrides    \(cohort.included) included, \(cohort.excluded) excluded
                        created      \(cohort.createdAt.text)
                        updated      \(cohort.updatedAt.text)
                        """
                }
            }
        }
    }

    struct UpdateRule: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "update-rule",
            abstract: "Give a cohort a new rule; everyone is classified again."
        )

        @Argument(help: "The cohort's id.") var id: String
        @Argument(help: "A CEL expression over customer.<attribute>.") var rule: String
        @Option(help: "For people: why.") var note = ""
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = UpdateCohortRuleRequest.with {
                $0.cohortID = id
                $0.rule = rule
                $0.note = note
            }
            try await root.session.withClient { client in
                let answer = try await BuildWatch.run(client, root.session, cohort: id) {
                    try await CohortClient(client).cohorts.updateCohortRule(
                        request,
                        options: root.session.buildOptions
                    )
                }
                try root.session.show(answer) {
                    if answer.hasPendingChange { return answer.pendingChange.notice }
                    return "updated \(id) to version \(answer.cohort.version): \(answer.entered) entered, "
                        + "\(answer.left) left [sequence \(answer.sequence)]"
                }
            }
        }
    }

    struct Override: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "override",
            abstract: "Include or exclude customers whatever the rule says.",
            discussion: CohortsCommand.filesDiscussion
        )

        @Argument(help: "The cohort's id.") var id: String
        @Option(help: "A customer to include; may be repeated.") var include: [String] = []
        @Option(help: "A customer to exclude; may be repeated.") var exclude: [String] = []
        @Option(help: "A customer whose override is removed; may be repeated.") var clear: [String] = []
        @Option(help: ArgumentHelp("Customers to include; - is standard input.", valueName: "file"))
        var includeFile: String?
        @Option(help: ArgumentHelp("Customers to exclude; - is standard input.", valueName: "file"))
        var excludeFile: String?
        @Option(help: ArgumentHelp("Customers whose override is removed; - is standard input.", valueName: "file"))
        var clearFile: String?
        @OptionGroup var upload: UploadOptions
        @ParentCommand var root: Cohortctl

        private var files: [(UploadMode, String?)] {
            [(.include, includeFile), (.exclude, excludeFile), (.clear, clearFile)]
        }

        func validate() throws {
            try CohortsCommand.check(
                files,
                upload,
                ids: include + exclude + clear,
                options: "--include, --exclude, --clear, --include-file, --exclude-file or --clear-file"
            )
        }

        func run() async throws {
            if let uploader = CohortsCommand.uploader(files, upload, id) { return try await uploader.run(root.session) }
            let request = SetOverridesRequest.with {
                $0.cohortID = id
                $0.include = include
                $0.exclude = exclude
                $0.clear = clear
            }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).cohorts.setOverrides(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    "\(id) has \(answer.cohort.included) included and \(answer.cohort.excluded) excluded "
                        + "[sequence \(answer.sequence)]"
                }
            }
        }
    }

    struct Static: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "static",
            abstract: "Change the list of a static cohort.",
            discussion: CohortsCommand.filesDiscussion
        )

        @Argument(help: "The cohort's id.") var id: String
        @Option(help: "A customer to add; may be repeated.") var add: [String] = []
        @Option(help: "A customer to remove; may be repeated.") var remove: [String] = []
        @Option(help: ArgumentHelp("Customers to add; - is standard input.", valueName: "file"))
        var addFile: String?
        @Option(help: ArgumentHelp("Customers to remove; - is standard input.", valueName: "file"))
        var removeFile: String?
        @Option(help: ArgumentHelp("Customers that become the list; - is standard input.", valueName: "file"))
        var replaceFile: String?
        @OptionGroup var upload: UploadOptions
        @ParentCommand var root: Cohortctl

        private var files: [(UploadMode, String?)] {
            [(.listAdd, addFile), (.listRemove, removeFile), (.listReplace, replaceFile)]
        }

        func validate() throws {
            try CohortsCommand.check(
                files,
                upload,
                ids: add + remove,
                options: "--add, --remove, --add-file, --remove-file or --replace-file"
            )
        }

        func run() async throws {
            if let uploader = CohortsCommand.uploader(files, upload, id) { return try await uploader.run(root.session) }
            let request = ModifyStaticMembersRequest.with {
                $0.cohortID = id
                $0.add = add
                $0.remove = remove
            }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).cohorts.modifyStaticMembers(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    var lines = [
                        "\(id): \(answer.added) added, \(answer.removed) removed [sequence \(answer.sequence)]"
                    ]
                    if answer.alreadyListed > 0 { lines.append("already on the list: \(answer.alreadyListed)") }
                    if answer.notListed > 0 { lines.append("not on the list: \(answer.notListed)") }
                    for id in answer.unknownCustomers { lines.append("no such customer: \(id)") }
                    for id in answer.invalidIds { lines.append("no customer can have this id: \(id)") }
                    return lines.joined(separator: "\n")
                }
            }
        }
    }

    struct Archive: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "archive",
            abstract: "End a cohort; its id is never used again."
        )

        @Argument(help: "The cohort's id.") var id: String
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = ArchiveCohortRequest.with { $0.cohortID = id }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).cohorts.archiveCohort(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    answer.hasPendingChange
                        ? answer.pendingChange.notice : "archived \(id) [sequence \(answer.sequence)]"
                }
            }
        }
    }
}

// MARK: Files of ids

extension CohortsCommand {
    fileprivate static let filesDiscussion = """
        A file has one customer id a line, or is CSV. All of it takes effect in one step, or nothing: a line that is no
        CSV and a connection that breaks change nothing. Unknown customers are named in the receipt and left out.
        """

    fileprivate static func check(
        _ files: [(UploadMode, String?)],
        _ upload: UploadOptions,
        ids: [String],
        options: String
    ) throws {
        let given = files.count { $0.1 != nil }
        if given == 0 && ids.isEmpty { throw ValidationError("give at least one of \(options)") }
        if given > 1 || (given == 1 && !ids.isEmpty) {
            throw ValidationError("a file is one change by itself; give it without other ids and files")
        }
        if given == 0 && upload.isGiven {
            throw ValidationError("--column, --rejects and --allow-empty are for files of ids")
        }
    }

    fileprivate static func uploader(
        _ files: [(UploadMode, String?)],
        _ upload: UploadOptions,
        _ cohort: String
    ) -> Uploader? {
        for (mode, path) in files {
            if let path { return Uploader(cohort: cohort, mode: mode, path: path, options: upload) }
        }
        return nil
    }
}

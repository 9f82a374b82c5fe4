import ArgumentParser
import CohortAPI
import RPC
import SwiftProtobuf

/// The life of a rule: `cohorts draft|discard|preview|publish|revert|versions`.
extension CohortsCommand {
    struct Draft: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "draft",
            abstract: "Keep a rule as the next version of a cohort, without effect."
        )

        @Argument(help: "The cohort's id.") var id: String
        @Argument(help: "A CEL expression over customer.<attribute>.") var rule: String
        @Option(help: "For people: why there is this version.") var note = ""
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = DraftVersionRequest.with {
                $0.cohortID = id
                $0.rule = rule
                $0.note = note
            }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).versions.draftVersion(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    "drafted version \(answer.version.version) of \(id) [sequence \(answer.sequence)]"
                }
            }
        }
    }

    struct Discard: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "discard", abstract: "Give a draft up.")

        @Argument(help: "The cohort's id.") var id: String
        @Argument(help: "The draft's number.") var version: UInt32
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = DiscardVersionRequest.with {
                $0.cohortID = id
                $0.version = version
            }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).versions.discardVersion(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    "discarded version \(version) of \(id) [sequence \(answer.sequence)]"
                }
            }
        }
    }

    struct Publish: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "publish",
            abstract: "Have a draft serve; everyone is classified again, and all memberships switch at once."
        )

        @Argument(help: "The cohort's id.") var id: String
        @Argument(help: "The draft's number.") var version: UInt32
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = PublishVersionRequest.with {
                $0.cohortID = id
                $0.version = version
            }
            try await root.session.withClient { client in
                let answer = try await BuildWatch.run(client, root.session, cohort: id) {
                    try await CohortClient(client).versions.publishVersion(
                        request,
                        options: root.session.buildOptions
                    )
                }
                try root.session.show(answer) {
                    if answer.hasPendingChange { return answer.pendingChange.notice }
                    return "published version \(answer.cohort.version) of \(id): \(answer.entered) entered, "
                        + "\(answer.left) left, \(answer.newlyUnknown) became UNKNOWN [sequence \(answer.sequence)]"
                }
            }
        }
    }

    struct Revert: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "revert",
            abstract: "Publish the rule of an earlier version again, as a new version."
        )

        @Argument(help: "The cohort's id.") var id: String
        @Option(help: "A version that has served; the one before the present one if absent.") var to: UInt32 = 0
        @Option(help: "For people: why.") var note = ""
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = RevertCohortRequest.with {
                $0.cohortID = id
                $0.version = to
                $0.note = note
            }
            try await root.session.withClient { client in
                let answer = try await BuildWatch.run(client, root.session, cohort: id) {
                    try await CohortClient(client).versions.revertCohort(
                        request,
                        options: root.session.buildOptions
                    )
                }
                try root.session.show(answer) {
                    if answer.hasPendingChange { return answer.pendingChange.notice }
                    return "reverted \(id), now at version \(answer.cohort.version): \(answer.entered) entered, "
                        + "\(answer.left) left, \(answer.newlyUnknown) became UNKNOWN [sequence \(answer.sequence)]"
                }
            }
        }
    }

    struct Versions: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "versions",
            abstract: "All versions of a cohort, the last first."
        )

        @Argument(help: "The cohort's id.") var id: String
        @ParentCommand var root: Cohortctl

        func run() async throws {
            let request = ListVersionsRequest.with { $0.cohortID = id }
            try await root.session.withClient { client in
                let answer = try await CohortClient(client).versions.listVersions(
                    request,
                    options: root.session.callOptions
                )
                try root.session.show(answer) {
                    var table = Table(["VERSION", "STATE", "AUTHOR", "PUBLISHED", "SEQUENCE", "RULE", "NOTE"])
                    for version in answer.versions {
                        let revert = version.revertsTo == 0 ? "" : "(reverts to \(version.revertsTo)) "
                        table.add([
                            String(version.version), version.state.text, version.author, version.publishedAt.text,
                            version.publishedSequence == 0 ? "-" : String(version.publishedSequence), version.rule,
                            revert + version.note,
                        ])
                    }
                    return table.text
                }
            }
        }
    }
}

extension VersionState {
    var text: String {
        switch self {
        case .draft: "draft"
        case .building: "building"
        case .active: "active"
        case .retired: "retired"
        case .discarded: "discarded"
        case .unspecified, .UNRECOGNIZED: "?"
        }
    }
}

/// Shows how far the server is with a build, while a call waits for it.
enum BuildWatch {
    /// Runs `call` with a progress bar beside it, on a terminal.
    static func run<Answer: Sendable>(
        _ client: Client,
        _ session: SessionOptions,
        cohort: String,
        _ call: () async throws -> Answer
    ) async throws -> Answer {
        guard ProgressBar.isTerminal else { return try await call() }
        let operations = CohortClient(client).operations
        let options = session.callOptions
        let watch = Task {
            var bar = ProgressBar(total: 1_000)
            defer { bar.finish() }
            // A build that is over before the first look needs no bar.
            while (try? await Task.sleep(for: .milliseconds(300))) != nil {
                guard let status = try? await operations.getStatus(.init(), options: options),
                    let build = status.builds.first(where: { $0.cohortID == cohort })
                else { continue }
                let permille = build.customersTotal == 0 ? 0 : build.customersDone * 1_000 / build.customersTotal
                bar.update(done: Int(permille), note: note(build))
            }
        }
        let result: Result<Answer, any Error>
        do { result = .success(try await call()) } catch { result = .failure(error) }
        watch.cancel()
        await watch.value
        return try result.get()
    }

    static func note(_ build: BuildStatus) -> String {
        let left = build.hasRemaining ? ", about \(build.remaining.text) left" : ""
        return switch build.phase {
        case .waiting: "waits for another build"
        case .scanning: "\(build.customersDone) of \(build.customersTotal) customers\(left)"
        case .catchingUp: "catching up with writes"
        case .switching: "switching"
        case .unspecified, .UNRECOGNIZED: ""
        }
    }
}

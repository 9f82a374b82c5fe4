import ArgumentParser
import CohortAPI
import Foundation
import RPC

/// The operator's command line. Exit status: 0 done, 1 failed, 2 wrong usage.
@main
@available(macOS 15, *)
struct Cohortctl: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cohortctl",
        abstract: "Talk to a Cohort server: customers, cohorts and who is in them.",
        discussion: """
            Every option can also be set in the environment: COHORT_ENDPOINT, COHORT_CA, COHORT_CERT, COHORT_KEY,
            COHORT_TOKEN_FILE.
            Exit status: 0 done, 1 failed, 2 wrong usage.
            """,
        version: CohortRelease.version,
        subcommands: [
            StatusCommand.self, CapacityCommand.self, CheckCommand.self, CohortsOfCommand.self, MembersCommand.self,
            CombineCommand.self, WatchCommand.self, ExplainCommand.self, HistoryCommand.self,
            CustomersCommand.self, CohortsCommand.self, AttributesCommand.self, RulesCommand.self, AuditCommand.self,
            AccessCommand.self, TokenCommand.self, MetricsCommand.self, SpansCommand.self, LogLevelCommand.self,
        ]
    )

    @OptionGroup(title: "Connection") var session: SessionOptions

    static func main() async {
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let error as RPCError {
            ErrorReport(error).write()
            Foundation.exit(1)
        } catch let error as CommandFailure {
            ErrorReport(error).write()
            Foundation.exit(error.isUsage ? 2 : 1)
        } catch {
            let code = exitCode(for: error)
            let text = fullMessage(for: error)
            if code == .success {
                print(text)
                Foundation.exit(0)
            }
            if !text.isEmpty { FileHandle.standardError.write(Data((text + "\n").utf8)) }
            Foundation.exit(code == .validationFailure ? 2 : 1)
        }
    }
}

/// A failure that this command found by itself, without the server.
struct CommandFailure: Error {
    let message: String
    /// Whether the command was called wrongly: exit status 2.
    let isUsage: Bool

    static func failed(_ message: String) -> CommandFailure { CommandFailure(message: message, isUsage: false) }
    static func usage(_ message: String) -> CommandFailure { CommandFailure(message: message, isUsage: true) }
}

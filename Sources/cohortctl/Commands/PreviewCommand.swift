import ArgumentParser
import CohortAPI
import SwiftProtobuf

extension CohortsCommand {
    struct Preview: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "preview",
            abstract: "Who would enter and leave if a rule were published now. Changes nothing."
        )

        @Argument(help: "The cohort's id.") var id: String
        @Option(help: "A draft, or a version that has served.") var version: UInt32?
        @Option(help: ArgumentHelp("A CEL expression that is not kept.", valueName: "expr")) var rule: String?
        @Option(help: "Customers in each sample, 1 to 100.") var sample: UInt32 = 10
        @ParentCommand var root: Cohortctl

        func validate() throws {
            guard (version != nil) != (rule != nil) else { throw ValidationError("give either --version or --rule") }
            guard (1...100).contains(sample) else { throw ValidationError("--sample is \(sample); it takes 1 to 100") }
        }

        func run() async throws {
            let request = PreviewVersionRequest.with {
                $0.cohortID = id
                if let version { $0.version = version }
                if let rule { $0.rule = rule }
                $0.sampleSize = sample
            }
            try await root.session.withClient { client in
                let answer = try await BuildWatch.run(client, root.session, cohort: id) {
                    try await CohortClient(client).versions.previewVersion(
                        request,
                        options: root.session.buildOptions
                    )
                }
                try root.session.show(answer) { Self.text(answer) }
            }
        }

        private static func text(_ preview: PreviewVersionResponse) -> String {
            var table = Table([
                "COHORT", "ENTER", "LEAVE", "BECOME UNKNOWN", "MEMBERS", "WILL BE", "UNKNOWN", "WILL BE",
            ])
            for diff in [preview.diff] + preview.dependents {
                table.add([
                    diff.cohortID, String(diff.entering), String(diff.leaving), String(diff.becomingUnknown),
                    String(diff.membersBefore), String(diff.membersAfter), String(diff.unknownBefore),
                    String(diff.unknownAfter),
                ])
            }
            let style = Style()
            var parts = ["\(preview.customers) customers at sequence \(preview.sequence)", table.text]
            for diff in [preview.diff] + preview.dependents {
                for (title, sample, colour) in [
                    ("would enter", diff.enteringSample, Style.Colour.green),
                    ("would leave", diff.leavingSample, Style.Colour.red),
                    ("would become UNKNOWN in", diff.becomingUnknownSample, Style.Colour.yellow),
                ] where !sample.isEmpty {
                    let heading = style.paint("\(title) \(diff.cohortID), a sample:", colour)
                    parts.append(heading + "\n" + Self.table(sample).text)
                }
            }
            if !preview.errors.isEmpty {
                var errors = Table(["CUSTOMERS", "ATTRIBUTE", "WHY THE RULE CANNOT BE DECIDED"])
                for error in preview.errors {
                    errors.add([String(error.customers), error.attribute, error.detail])
                }
                parts.append(errors.text)
            }
            return parts.joined(separator: "\n\n")
        }

        private static func table(_ sample: [PreviewedCustomer]) -> Table {
            var table = Table(["CUSTOMER", "IS", "WILL BE", "ATTRIBUTES", "BECAUSE OF"])
            for customer in sample {
                let attributes = customer.attributes.sorted { $0.key < $1.key }.map { "\($0.key) = \($0.value)" }
                table.add([
                    customer.customerID, customer.before.text, customer.after.text,
                    attributes.joined(separator: ", "),
                    customer.detail.isEmpty ? customer.deciding : customer.detail,
                ])
            }
            return table
        }
    }
}

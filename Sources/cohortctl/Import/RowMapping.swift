import CohortAPI
import Foundation

/// Which column becomes what.
struct RowMapping {
    var idColumn: String
    var eventTimeColumn: String?
    /// Column to attribute, where they are not named alike.
    var renamed: [String: String]
    var ignored: Set<String>
    /// The declared attributes.
    let types: [String: AttributeType]

    /// What one column holds.
    enum Role: Equatable {
        case id
        case eventTime
        case attribute(String, AttributeType)
        case ignored
    }

    /// What the column `name` holds.
    ///
    /// - Throws: ``CommandFailure`` for a column that is no declared attribute, with the nearest one.
    func role(of name: String) throws -> Role {
        if name == idColumn { return .id }
        if name == eventTimeColumn { return .eventTime }
        if ignored.contains(name) { return .ignored }
        let attribute = renamed[name] ?? name
        guard let type = types[attribute] else {
            let nearest = NearestName.of(attribute, among: types.keys)
            let hint = nearest.map { "; did you mean '\($0)'?" } ?? "."
            throw CommandFailure.failed(
                "column '\(name)' is no declared attribute\(hint) "
                    + "Declare it, map it (--map \(name)=ATTRIBUTE) or leave it out (--ignore \(name))"
            )
        }
        return .attribute(attribute, type)
    }

    /// Checks that the columns named by options are among `header`, and that none stands twice.
    ///
    /// - Throws: ``CommandFailure`` naming the column and the nearest one.
    func check(header: [String]) throws {
        for (index, name) in header.enumerated() where header[..<index].contains(name) {
            throw CommandFailure.failed("column '\(name)' stands twice in the header; rename one")
        }
        var wanted = [("--id-column", idColumn)]
        if let eventTimeColumn { wanted.append(("--event-time-column", eventTimeColumn)) }
        wanted += renamed.keys.sorted().map { ("--map", $0) } + ignored.sorted().map { ("--ignore", $0) }
        for (option, name) in wanted where !header.contains(name) {
            let nearest = NearestName.of(name, among: header)
            let hint = nearest.map { "did you mean '\($0)'?" } ?? "the header has \(header.joined(separator: ", "))"
            throw CommandFailure.failed("\(option): there is no column '\(name)'; \(hint)")
        }
    }
}

/// Finds what a misspelt name was meant to be.
enum NearestName {
    /// The candidate with the fewest edits (Levenshtein), if they are at most a third of its length.
    static func of(_ name: String, among candidates: some Sequence<String>) -> String? {
        candidates.map { (distance(Array(name), Array($0)), $0) }
            .filter { $0.0 <= max(1, $0.1.count / 3) }
            .min { $0 < $1 }?.1
    }

    private static func distance(_ a: [Character], _ b: [Character]) -> Int {
        var row = Array(0...b.count)
        for (i, x) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, y) in b.enumerated() {
                let above = row[j + 1]
                row[j + 1] = Swift.min(above + 1, row[j] + 1, diagonal + (x == y ? 0 : 1))
                diagonal = above
            }
        }
        return row[b.count]
    }
}

import CohortServices
import Foundation
import RPC
import Yams

/// The file of the access policy: a list of grants, each with whom it is for and the roles that they get.
///
///     grants:
///       - certificate: spiffe://example.com/checkout
///         roles: [reader]
///         cohorts: [PREMIUM, VIP]
///       - subject: "svc-import@*"
///         roles: [writer]
///       - claim: {name: groups, value: fraud-team}
///         roles: [admin]
enum PolicyFile {
    /// Names the grant and what is wrong with it.
    struct Invalid: Error, CustomStringConvertible {
        let description: String
    }

    /// - Throws: ``Invalid``. Anything that is not understood is refused: a grant must not mean more, or less, than it says.
    static func parse(_ data: Data) throws(Invalid) -> AccessPolicy {
        let root: Node?
        do { root = try Yams.compose(yaml: String(decoding: data, as: UTF8.self)) } catch {
            throw Invalid(description: "it is no YAML: \(error)")
        }
        guard let mapping = root?.mapping, let grants = mapping["grants"]?.sequence, mapping.count == 1 else {
            throw Invalid(description: "one member 'grants' with a list is needed, and no other")
        }
        var rules: [AccessPolicy.Rule] = []
        for (index, grant) in grants.enumerated() { rules.append(try rule(grant, "grants[\(index)]")) }
        return AccessPolicy(rules)
    }

    private static func rule(_ grant: Node, _ place: String) throws(Invalid) -> AccessPolicy.Rule {
        guard let mapping = grant.mapping else { throw Invalid(description: "\(place) is no mapping") }
        var matches: [AccessPolicy.Match] = []
        var roles: Set<Role> = []
        var cohorts: Set<String>?
        for (key, value) in mapping {
            switch key.string {
            case "certificate": matches.append(.certificate(try name(value, "\(place).certificate")))
            case "subject": matches.append(.subject(try name(value, "\(place).subject")))
            case "claim": matches.append(try claim(value, "\(place).claim"))
            case "roles": roles = try self.roles(value, "\(place).roles")
            case "cohorts": cohorts = Set(try texts(value, "\(place).cohorts"))
            default:
                throw Invalid(
                    description: "\(place) has a member '\(key.string ?? "?")'; "
                        + "certificate, subject, claim, roles and cohorts are known"
                )
            }
        }
        guard matches.count == 1 else {
            throw Invalid(description: "\(place) needs one of certificate, subject and claim")
        }
        guard !roles.isEmpty else { throw Invalid(description: "\(place).roles is missing") }
        if let cohorts {
            guard roles == [.reader] else {
                throw Invalid(
                    description: "\(place).cohorts restricts the role reader; give others in a grant of their own"
                )
            }
            guard !cohorts.isEmpty else {
                throw Invalid(description: "\(place).cohorts is empty; leave it out for all cohorts")
            }
        }
        return AccessPolicy.Rule(matches[0], roles: roles, resources: cohorts)
    }

    private static func name(_ node: Node, _ place: String) throws(Invalid) -> String {
        guard let name = node.string, !name.isEmpty else { throw Invalid(description: "\(place) is no text") }
        guard !name.dropLast().contains("*") else {
            throw Invalid(description: "\(place) has a * before its end; only the last character may be one")
        }
        guard name != "*" else {
            throw Invalid(
                description: "\(place) is * alone, which would be everybody; give at least what they have in common"
            )
        }
        return name
    }

    private static func claim(_ node: Node, _ place: String) throws(Invalid) -> AccessPolicy.Match {
        guard let mapping = node.mapping, mapping.count == 2, let name = mapping["name"]?.string, !name.isEmpty,
            let value = mapping["value"]?.string
        else { throw Invalid(description: "\(place) takes {name: …, value: …}") }
        return .claim(name: name, value: value)
    }

    private static func roles(_ node: Node, _ place: String) throws(Invalid) -> Set<Role> {
        var roles: Set<Role> = []
        for name in try texts(node, place) {
            guard Role.all.contains(Role(rawValue: name)) else {
                let known = Role.all.map(\.rawValue).joined(separator: ", ")
                throw Invalid(description: "\(place) has '\(name)'; the roles are \(known)")
            }
            roles.insert(Role(rawValue: name))
        }
        return roles
    }

    private static func texts(_ node: Node, _ place: String) throws(Invalid) -> [String] {
        guard let sequence = node.sequence else { throw Invalid(description: "\(place) is no list") }
        var texts: [String] = []
        for element in sequence {
            guard let text = element.string else {
                throw Invalid(description: "\(place) has an element that is no text")
            }
            texts.append(text)
        }
        return texts
    }
}

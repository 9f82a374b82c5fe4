/// Who has which roles: rules that match certificates and tokens.
///
/// A principal has the roles of every rule that matches it, and none where no rule does.
public struct AccessPolicy: Sendable, Hashable {
    /// Whom a rule is for.
    public enum Match: Sendable, Hashable {
        /// A certificate that bears this subject alternative name. A `*` at the end stands for any rest.
        case certificate(String)
        /// A token with this subject. A `*` at the end stands for any rest.
        case subject(String)
        /// A token whose claim is this value, or a list that holds it.
        case claim(name: String, value: String)
    }

    /// One rule.
    public struct Rule: Sendable, Hashable {
        /// Whom it is for.
        public var match: Match
        /// What they get.
        public var roles: Set<Role>
        /// The resources that the roles hold for; nil for all.
        public var resources: Set<String>?

        /// Makes a rule.
        public init(_ match: Match, roles: Set<Role>, resources: Set<String>? = nil) {
            self.match = match
            self.roles = roles
            self.resources = resources
        }
    }

    /// In the order of the file.
    public var rules: [Rule]

    /// A policy of these rules; an empty one gives nothing to anybody.
    public init(_ rules: [Rule] = []) { self.rules = rules }

    /// What a principal gets.
    public func grants(for source: Principal.Source, table: MethodRoles) -> Grants {
        var roles: Set<Role> = []
        var restricted: [Role: Set<String>] = [:]
        for rule in rules where rule.match.holds(for: source) {
            guard let resources = rule.resources else {
                roles.formUnion(rule.roles)
                continue
            }
            for role in rule.roles { restricted[role, default: []].formUnion(resources) }
        }
        return Grants(roles: roles, restricted: restricted, table: table)
    }
}

extension AccessPolicy.Match {
    func holds(for source: Principal.Source) -> Bool {
        switch (self, source) {
        case (.certificate(let pattern), .certificate(let identity)):
            identity.names.contains { Self.matches(pattern, $0) }
        case (.subject(let pattern), .token(let claims)):
            Self.matches(pattern, claims.subject)
        case (.claim(let name, let value), .token(let claims)):
            claims.values(of: name).contains(value)
        default: false
        }
    }

    private static func matches(_ pattern: String, _ name: String) -> Bool {
        guard pattern.hasSuffix("*") else { return pattern == name }
        return name.hasPrefix(pattern.dropLast())
    }
}

extension Peer.Identity {
    /// The names a principal can go by: URIs first, then DNS names, then mail addresses.
    public var names: [String] {
        uris + dnsNames + subjectNames.compactMap { if case .email(let name) = $0 { name } else { nil } }
    }
}

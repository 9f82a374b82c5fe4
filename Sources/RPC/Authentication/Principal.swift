/// Who makes a call, as the authentication established it, and what it may do.
///
/// One object serves all calls with the same certificate or token, so that attaching it to a call costs nothing.
public final class Principal: Sendable {
    /// How the principal showed who it is.
    public enum Source: Sendable, Hashable {
        /// By the certificate of its connection; the names are those of ``Peer/Identity``.
        case certificate(Peer.Identity)
        /// By a signed token.
        case token(TokenClaims)
        /// Not at all, where the server allows that.
        case anonymous
    }

    /// A name for people and for logs: the certificate's first URI, DNS or mail name, the token's subject, or `anonymous`.
    public let name: String
    /// How it showed who it is.
    public let source: Source
    /// What it may do.
    public let grants: Grants
    /// What it has used of its rates; found with its first call.
    let rateBudget = RateBudgetSlot()

    /// Makes a principal; for tests of interceptors and handlers.
    public init(name: String, source: Source, grants: Grants) {
        self.name = name
        self.source = source
        self.grants = grants
    }
}

/// A set of permissions that has a name, as `reader`.
public struct Role: RawRepresentable, Sendable, Hashable {
    /// The name.
    public let rawValue: String

    /// Names a role.
    public init(rawValue: String) { self.rawValue = rawValue }
}

/// The roles of a principal, and the methods that they open.
public struct Grants: Sendable, Hashable {
    /// How far a method is open.
    public enum Access: Sendable, Hashable {
        /// For every resource.
        case all
        /// For these resources alone; what a resource is says the service.
        case only(Set<String>)
    }

    /// Every role, whether it is restricted or not.
    public let roles: Set<Role>
    /// Roles that are restricted to some resources.
    public let restricted: [Role: Set<String>]
    /// The methods that may be called, by full name.
    private let methods: [String: Access]

    /// Works out which methods the roles open.
    ///
    /// - Parameters:
    ///   - roles: Those that are not restricted.
    ///   - restricted: Those that hold for some resources only, unless they are among `roles` as well.
    public init(roles: Set<Role>, restricted: [Role: Set<String>] = [:], table: MethodRoles) {
        self.roles = roles.union(restricted.keys)
        self.restricted = restricted.filter { !roles.contains($0.key) }
        var methods: [String: Access] = [:]
        for (method, allowed) in table.methods {
            if !allowed.isDisjoint(with: roles) {
                methods[method] = .all
                continue
            }
            let resources = self.restricted.filter { allowed.contains($0.key) }.map(\.value)
            guard !resources.isEmpty else { continue }
            methods[method] = .only(resources.reduce(into: Set()) { $0.formUnion($1) })
        }
        self.methods = methods
    }

    /// How far a method is open; nil where it is not.
    public func access(to method: String) -> Access? { methods[method] }
}

/// Which roles may call which method. A method without a row can be called by nobody.
public struct MethodRoles: Sendable {
    /// Allowed roles, by the method's full name.
    public let methods: [String: Set<Role>]

    /// Takes the rows as they are.
    public init(_ methods: [String: Set<Role>]) { self.methods = methods }

    /// The full names, sorted.
    public var names: [String] { methods.keys.sorted() }
}

/// How much it matters that a call is answered when not all can be, as in Google's *Site Reliability Engineering*, chapter
/// 21. Callers say it in the metadata `x-criticality`; what they do not say is ``critical``.
public enum Criticality: UInt8, Sendable, Hashable, Comparable, CaseIterable {
    /// Partial outages of it are expected, as for work that is done later anyway.
    case sheddable
    /// Partial outages of it are no surprise; a batch that is tried again.
    case sheddablePlus
    /// Someone sees that it fails.
    case critical
    /// Very much is lost with it; never shed by load.
    case criticalPlus

    /// The metadata's key.
    public static let metadataKey = "x-criticality"

    /// As it is sent, as `SHEDDABLE_PLUS`.
    public var name: String {
        switch self {
        case .sheddable: "SHEDDABLE"
        case .sheddablePlus: "SHEDDABLE_PLUS"
        case .critical: "CRITICAL"
        case .criticalPlus: "CRITICAL_PLUS"
        }
    }

    /// Nil for what is none of the names.
    public init?(name: String) {
        guard let found = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = found
    }

    /// What a call says of itself; what it says wrongly counts as ``critical``.
    init(of metadata: Metadata) {
        guard !metadata.isEmpty, let name = metadata[Self.metadataKey] else {
            self = .critical
            return
        }
        self = Criticality(name: name) ?? .critical
    }

    /// The less critical first.
    public static func < (a: Criticality, b: Criticality) -> Bool { a.rawValue < b.rawValue }
}

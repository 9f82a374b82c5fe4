public import JWTKit

/// What a token says (RFC 7519, section 4).
public struct TokenClaims: Sendable, Hashable {
    /// A value of a claim, as far as rules can ask for it.
    public enum Value: Sendable, Hashable {
        /// A text; numbers and booleans are given as JSON writes them.
        case text(String)
        /// The texts, numbers and booleans of a list.
        case list([String])
        /// An object or null: no rule matches it.
        case other
    }

    /// Every claim, by name.
    public var claims: [String: Value]
    /// Seconds since 1970 of the claims that are times: `exp`, `nbf`, `iat`.
    public var times: [String: Double]

    /// Claims as a minted token carries them.
    public init(claims: [String: Value] = [:], times: [String: Double] = [:]) {
        self.claims = claims
        self.times = times
    }

    /// `sub`; empty where it is missing.
    public var subject: String { text("sub") ?? "" }
    /// `iss`.
    public var issuer: String? { text("iss") }
    /// `aud`: one or several.
    public var audiences: [String] { values(of: "aud") }

    /// The texts of a claim: one, several, or none.
    public func values(of claim: String) -> [String] {
        switch claims[claim] {
        case .text(let text): [text]
        case .list(let texts): texts
        case .other, nil: []
        }
    }

    private func text(_ claim: String) -> String? {
        if case .text(let text) = claims[claim] { text } else { nil }
    }
}

extension TokenClaims: JWTPayload {
    private static let timeNames: Set<String> = ["exp", "nbf", "iat"]

    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// Takes every claim.
    ///
    /// - Throws: For one of the times that is no number.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Name.self)
        claims = [:]
        times = [:]
        for name in container.allKeys {
            if Self.timeNames.contains(name.stringValue) {
                times[name.stringValue] = try container.decode(Double.self, forKey: name)
            } else {
                claims[name.stringValue] = (try? container.decode(Value.self, forKey: name)) ?? .other
            }
        }
    }

    /// Writes every claim but those that are neither text nor list.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Name.self)
        for (name, time) in times { try container.encode(Int64(time), forKey: Name(stringValue: name)) }
        for (name, value) in claims {
            switch value {
            case .text(let text): try container.encode(text, forKey: Name(stringValue: name))
            case .list(let texts): try container.encode(texts, forKey: Name(stringValue: name))
            case .other: break
            }
        }
    }

    /// Nothing: ``TokenVerifier`` checks the claims, with the time passed in.
    public func verify(using algorithm: some JWTAlgorithm) throws {}
}

extension TokenClaims.Value: Decodable {
    /// Takes texts, numbers, booleans and lists of them.
    public init(from decoder: any Decoder) throws {
        if var list = try? decoder.unkeyedContainer() {
            var texts: [String] = []
            while !list.isAtEnd {
                let element = try list.decode(TokenClaims.Value.self)
                if case .text(let text) = element { texts.append(text) }
            }
            self = .list(texts)
            return
        }
        guard let single = try? decoder.singleValueContainer(), !single.decodeNil() else {
            self = .other
            return
        }
        if let text = try? single.decode(String.self) {
            self = .text(text)
        } else if let bool = try? single.decode(Bool.self) {
            self = .text(String(bool))
        } else if let whole = try? single.decode(Int64.self) {
            self = .text(String(whole))
        } else if let number = try? single.decode(Double.self) {
            self = .text(String(number))
        } else {
            self = .other
        }
    }
}

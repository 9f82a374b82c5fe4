import Foundation
import JWTKit

/// What tokens are taken.
public struct TokenRequirements: Sendable, Hashable {
    /// What `iss` must be.
    public var issuer: String
    /// What `aud` must be, or hold.
    public var audience: String
    /// How far the clocks of issuer and server may be apart, in seconds; 30.
    public var clockSkew: Double
    /// Longest token, in bytes; 8 KiB.
    public var maximumBytes: Int

    /// Makes requirements.
    public init(issuer: String, audience: String, clockSkew: Double = 30, maximumBytes: Int = 8 << 10) {
        self.issuer = issuer
        self.audience = audience
        self.clockSkew = clockSkew
        self.maximumBytes = maximumBytes
    }
}

/// Why a token is refused. The words are for logs and counters; a caller is not told which of them holds.
public enum TokenRejection: String, Error, Sendable, Hashable, CaseIterable {
    /// Not three parts of base64url with JSON inside, or too long.
    case malformed
    /// The header names an algorithm that is not taken; `none` is one.
    case algorithm
    /// The header asks for something that must be understood and is not (`crit`).
    case critical
    /// No key has the id that the header names, or it is for another algorithm.
    case unknownKey = "unknown_key"
    /// The signature is not that of the key.
    case signature
    /// `iss` is another.
    case issuer
    /// `aud` is another.
    case audience
    /// `exp` is over.
    case expired
    /// `nbf` or `iat` is yet to come.
    case notYetValid = "not_yet_valid"
    /// `sub`, `exp`, or another claim that must be there is not.
    case missingClaim = "missing_claim"
}

/// Verifies signed tokens (RFC 7519) as RFC 8725 recommends: one algorithm for each key, issuer and audience checked, an
/// expiry demanded.
public struct TokenVerifier: Sendable {
    private let keys: TokenKeys
    private let requirements: TokenRequirements

    /// Makes a verifier.
    public init(keys: TokenKeys, requirements: TokenRequirements) {
        self.keys = keys
        self.requirements = requirements
    }

    private struct Header: Decodable {
        var alg: String
        var kid: String?
        var typ: String?
        var crit: [String]?
    }

    /// Verifies a token.
    ///
    /// - Parameter now: Seconds since 1970.
    /// - Returns: Its claims. `exp` is one of them.
    public func verify(_ token: String, now: Double) async throws(TokenRejection) -> TokenClaims {
        let key = try key(for: token)
        let claims: TokenClaims
        do {
            claims = try await key.verifier.verify(token)
        } catch let error as JWTError where error.errorType == .malformedToken {
            throw .malformed
        } catch {
            // Also the crypto library's own errors: a signature that is none.
            throw .signature
        }
        try check(claims, now: now)
        return claims
    }

    private func key(for token: String) throws(TokenRejection) -> TokenKeys.Key {
        guard token.utf8.count <= requirements.maximumBytes else { throw .malformed }
        let parts = token.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3, let json = Self.decodeBase64URL(parts[0]),
            let header = try? JSONDecoder().decode(Header.self, from: json)
        else { throw .malformed }
        guard TokenKeys.algorithms.contains(header.alg) else { throw .algorithm }
        guard header.crit == nil else { throw .critical }
        // Other typed tokens of the same issuer are for other uses (RFC 8725, section 3.11).
        if let typ = header.typ?.lowercased(), typ != "jwt", typ != "at+jwt" { throw .malformed }
        guard let key = keys.key(header.kid, algorithm: header.alg) else { throw .unknownKey }
        return key
    }

    private func check(_ claims: TokenClaims, now: Double) throws(TokenRejection) {
        guard claims.issuer == requirements.issuer else { throw .issuer }
        guard claims.audiences.contains(requirements.audience) else { throw .audience }
        guard let expiry = claims.times["exp"] else { throw .missingClaim }
        guard now < expiry + requirements.clockSkew else { throw .expired }
        for name in ["nbf", "iat"] {
            if let time = claims.times[name], time > now + requirements.clockSkew { throw .notYetValid }
        }
        // A name is shown, logged and compared: it has to be a plain one.
        let subject = claims.subject
        guard !subject.isEmpty, subject.utf8.count <= 256,
            !subject.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
        else { throw .missingClaim }
    }

    /// When a verified token is over, in seconds since 1970.
    public func end(of claims: TokenClaims) -> Double { (claims.times["exp"] ?? 0) + requirements.clockSkew }

    static func decodeBase64URL(_ text: Substring.UTF8View) -> Data? {
        var text = String(Substring(text)).replacingOccurrences(of: "-", with: "+")
            .replacingOccurrences(of: "_", with: "/")
        text += String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
        return Data(base64Encoded: text)
    }
}

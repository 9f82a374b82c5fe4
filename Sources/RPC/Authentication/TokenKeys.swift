public import Foundation
import JWTKit

/// The public keys that tokens are verified with: a JSON Web Key Set (RFC 7517).
///
/// A key serves one algorithm, whatever a token's header says; that is what keeps an RSA key from being taken for a secret of
/// HMAC.
public struct TokenKeys: Sendable {
    /// What signatures may be made with: ECDSA on P-256, RSA with PKCS #1 v1.5, Ed25519.
    public static let algorithms: Set<String> = ["ES256", "RS256", "EdDSA"]
    /// Bits that an RSA key has at least.
    public static let leastRSABits = 2048

    struct Key: Sendable {
        var algorithm: String
        var verifier: JWTKeyCollection
    }

    /// The set as it is written, with what has to be looked at before a key may be used.
    private struct KeySet: Decodable {
        struct Key: Decodable {
            private enum CodingKeys: CodingKey { case kid, kty, alg, crv, use, n, d }

            let kid, kty, alg, crv, use, n, d: String?
            /// Failed for a kind that the library does not know.
            let jwk: Result<JWK, any Error>

            init(from decoder: any Decoder) throws {
                let fields = try decoder.container(keyedBy: CodingKeys.self)
                func text(_ key: CodingKeys) throws -> String? { try fields.decodeIfPresent(String.self, forKey: key) }
                (kid, kty, alg, crv) = (try text(.kid), try text(.kty), try text(.alg), try text(.crv))
                (use, n, d) = (try text(.use), try text(.n), try text(.d))
                jwk = Result { try JWK(from: decoder) }
            }
        }

        let keys: [Key]
    }

    private let keys: [String: Key]

    /// Why a key set cannot be used.
    public struct Invalid: Error, CustomStringConvertible {
        /// The key or member, and what is wrong with it.
        public let description: String
    }

    /// The ids of the keys, sorted.
    public var identifiers: [String] { keys.keys.sorted() }

    /// Reads a key set.
    ///
    /// - Throws: ``Invalid`` for what is no key set, for a key without an id, of two with the same id the second, and for one of
    ///   another kind or too short. A set without keys is refused too: it would refuse everybody.
    public init(jwks: Data) async throws(Invalid) {
        let set: KeySet
        do { set = try JSONDecoder().decode(KeySet.self, from: jwks) } catch {
            throw Invalid(description: "it is no JSON Web Key Set: a member 'keys' with a list of keys is needed")
        }
        var keys: [String: Key] = [:]
        for (index, key) in set.keys.enumerated() where key.use != "enc" {
            guard let id = key.kid, !id.isEmpty else {
                throw Invalid(description: "keys[\(index)] has no 'kid'; tokens name their key by it")
            }
            guard keys[id] == nil else { throw Invalid(description: "two keys have the 'kid' \(id)") }
            let algorithm = try Self.algorithm(id, kind: key.kty, curve: key.crv, stated: key.alg)
            guard key.d == nil else {
                throw Invalid(description: "key \(id) is a private key; a server needs the public ones alone")
            }
            // Six bits a character.
            if algorithm == "RS256", (key.n?.count ?? 0) * 6 < Self.leastRSABits {
                throw Invalid(description: "key \(id) is shorter than \(Self.leastRSABits) bits")
            }
            keys[id] = Key(algorithm: algorithm, verifier: try await Self.verifier(id, algorithm, key.jwk))
        }
        guard !keys.isEmpty else { throw Invalid(description: "it has no key for signatures") }
        self.keys = keys
    }

    private static func algorithm(
        _ id: String,
        kind: String?,
        curve: String?,
        stated: String?
    ) throws(Invalid) -> String {
        let fitting: String? =
            switch (kind, curve) {
            case ("EC", "P-256"): "ES256"
            case ("RSA", _): "RS256"
            case ("OKP", "Ed25519"): "EdDSA"
            default: nil
            }
        guard let fitting, stated == nil || stated == fitting else {
            throw Invalid(
                description: "key \(id) is of kind \(kind ?? "?") \(curve ?? "") \(stated ?? ""); "
                    + "EC P-256 with ES256, RSA with RS256 and OKP Ed25519 with EdDSA are taken"
            )
        }
        return fitting
    }

    private static func verifier(
        _ id: String,
        _ algorithm: String,
        _ jwk: Result<JWK, any Error>
    ) async throws(Invalid) -> JWTKeyCollection {
        do {
            var jwk = try jwk.get()
            jwk.algorithm = JWK.Algorithm(rawValue: algorithm)
            let collection = JWTKeyCollection()
            try await collection.add(jwk: jwk)
            return collection
        } catch {
            throw Invalid(description: "key \(id) cannot be used: \(error)")
        }
    }

    /// The key that a token's header names; nil where there is none, or where it is for another algorithm.
    func key(_ identifier: String?, algorithm: String) -> Key? {
        let key: Key?
        if let identifier { key = keys[identifier] } else { key = keys.count == 1 ? keys.values.first : nil }
        return key?.algorithm == algorithm ? key : nil
    }
}

import Crypto
public import Foundation
import JWTKit

/// Signs tokens with an Ed25519 key: for development and tests. In production an identity provider issues them.
public struct TokenSigner: Sendable {
    private struct PrivateKey: Codable {
        var kty = "OKP"
        var crv = "Ed25519"
        var alg = "EdDSA"
        var use = "sig"
        var kid: String
        var x: String
        var d: String?
    }

    /// Why a key cannot be used.
    public struct Invalid: Error, CustomStringConvertible {
        /// What is wrong with it.
        public let description: String
    }

    private let key: PrivateKey

    /// Makes a key with a random id.
    public init() {
        let key = Curve25519.Signing.PrivateKey()
        let id = SHA256.hash(data: key.publicKey.rawRepresentation).prefix(8)
            .map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        self.key = PrivateKey(
            kid: id,
            x: Self.base64URL(key.publicKey.rawRepresentation),
            d: Self.base64URL(key.rawRepresentation)
        )
    }

    /// Takes a key that ``privateKey`` gave.
    ///
    /// - Throws: ``Invalid`` for what is none.
    public init(privateKey: Data) throws(Invalid) {
        guard let key = try? JSONDecoder().decode(PrivateKey.self, from: privateKey), key.d != nil,
            key.kty == "OKP", key.crv == "Ed25519"
        else { throw Invalid(description: "it is no private JSON Web Key of kind OKP Ed25519") }
        self.key = key
    }

    /// The id that its tokens name.
    public var identifier: String { key.kid }

    /// The private key as a JSON Web Key. A secret.
    public var privateKey: Data { Self.encode(key) }

    /// The key set to verify its tokens with.
    public var publicKeys: Data {
        var key = key
        key.d = nil
        return Self.encode(["keys": [key]])
    }

    private static func encode(_ value: some Encodable) -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        // Texts alone: encoding cannot fail.
        return (try? encoder.encode(value)) ?? Data()
    }

    private static func base64URL(_ data: Data) -> String {
        data.base64EncodedString().replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
    }

    /// Signs a token with these claims.
    ///
    /// - Throws: ``Invalid`` for a key whose private part is none.
    public func sign(_ claims: TokenClaims) async throws(Invalid) -> String {
        do {
            let signing = try EdDSA.PrivateKey(d: key.d ?? "", curve: .ed25519)
            let id = JWKIdentifier(string: key.kid)
            return try await JWTKeyCollection().add(eddsa: signing, kid: id).sign(claims, kid: id)
        } catch {
            throw Invalid(description: "the key cannot sign: \(error)")
        }
    }
}

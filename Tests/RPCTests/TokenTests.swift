import Crypto
import Foundation
import JWTKit
import NIOCore
import RPC
import Testing

@testable import RPC

/// A signer of any algorithm, and tokens put together by hand.
struct TestIssuer {
    static let issuer = "https://issuer.test"
    static let audience = "cohort"
    static let now = 1_700_000_000.0

    let ed = TokenSigner()
    let p256 = P256.Signing.PrivateKey()

    static func base64URL(_ data: some Sequence<UInt8>) -> String {
        Data(data).base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    }

    static func part(_ json: String) -> String { base64URL(json.utf8) }

    static func claims(_ changes: [String: String?] = [:]) -> String {
        var claims: [String: String] = [
            "iss": "\"\(issuer)\"", "aud": "\"\(audience)\"", "sub": "\"alice\"", "exp": "\(Int(now) + 600)",
            "groups": "[\"fraud\", \"vip\"]",
        ]
        for (name, value) in changes { claims[name] = value }
        return "{" + claims.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value)" }.joined(separator: ",") + "}"
    }

    /// Signed by the Ed25519 key, whatever the header says.
    func token(header: String? = nil, claims: String = claims()) throws -> String {
        let header = header ?? #"{"alg":"EdDSA","kid":"\#(ed.identifier)"}"#
        let text = Self.part(header) + "." + Self.part(claims)
        struct Key: Decodable { var d: String }
        let key = try JSONDecoder().decode(Key.self, from: ed.privateKey)
        let padded = key.d.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/") + "="
        let raw = try #require(Data(base64Encoded: padded))
        let signature = try Curve25519.Signing.PrivateKey(rawRepresentation: raw).signature(for: Data(text.utf8))
        return text + "." + Self.base64URL(signature)
    }

    func ecToken(claims: String = claims(), kid: String = "ec") throws -> String {
        let text = Self.part(#"{"alg":"ES256","kid":"\#(kid)"}"#) + "." + Self.part(claims)
        return text + "." + Self.base64URL(try p256.signature(for: Data(text.utf8)).rawRepresentation)
    }

    var ecKey: String {
        let point = p256.publicKey.rawRepresentation
        return #"{"kty":"EC","crv":"P-256","kid":"ec","x":"\#(Self.base64URL(point.prefix(32)))","#
            + #""y":"\#(Self.base64URL(point.suffix(32)))"}"#
    }

    var edKey: String {
        get throws {
            struct Keys: Decodable {
                struct Key: Decodable { var x: String }
                var keys: [Key]
            }
            let x = try JSONDecoder().decode(Keys.self, from: ed.publicKeys).keys[0].x
            return #"{"kty":"OKP","crv":"Ed25519","kid":"\#(ed.identifier)","x":"\#(x)"}"#
        }
    }

    func verifier(_ keys: String...) async throws -> TokenVerifier {
        let text = #"{"keys":[\#(keys.isEmpty ? try edKey : keys.joined(separator: ","))]}"#
        return TokenVerifier(
            keys: try await TokenKeys(jwks: Data(text.utf8)),
            requirements: TokenRequirements(issuer: Self.issuer, audience: Self.audience)
        )
    }
}

/// An RSA key made by openssl, and what it signs.
private struct RSAIssuer {
    let key: JWTKit.Insecure.RSA.PrivateKey
    let pem: String

    init() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        key = try JWTKit.Insecure.RSA.PrivateKey(pem: text)
        pem = key.publicKey.pemRepresentation
    }

    var jwk: String {
        get throws {
            let (modulus, exponent) = try key.publicKey.getKeyPrimitives()
            return #"{"kty":"RSA","alg":"RS256","kid":"rsa","n":"\#(TestIssuer.base64URL(modulus))","#
                + #""e":"\#(TestIssuer.base64URL(exponent))"}"#
        }
    }

    func token() async throws -> String {
        let claims = try JSONDecoder().decode(TokenClaims.self, from: Data(TestIssuer.claims().utf8))
        return try await JWTKeyCollection().add(rsa: key, digestAlgorithm: .sha256, kid: "rsa").sign(claims, kid: "rsa")
    }
}

@Suite("Tokens")
struct TokenTests {
    private let issuer = TestIssuer()

    private func rejection(
        _ token: String,
        _ verifier: TokenVerifier? = nil,
        now: Double = TestIssuer.now
    ) async throws -> TokenRejection? {
        let verifier = if let verifier { verifier } else { try await issuer.verifier() }
        do throws(TokenRejection) {
            _ = try await verifier.verify(token, now: now)
            return nil
        } catch {
            return error
        }
    }

    @Test("a token of each algorithm is taken, and says who it is for")
    func accepted() async throws {
        let rsa = try RSAIssuer()
        let verifier = try await issuer.verifier(issuer.edKey, issuer.ecKey, rsa.jwk)
        for token in [try issuer.token(), try issuer.ecToken(), try await rsa.token()] {
            let claims = try await verifier.verify(token, now: TestIssuer.now)
            #expect(claims.subject == "alice")
            #expect(claims.values(of: "groups") == ["fraud", "vip"])
            #expect(verifier.end(of: claims) == TestIssuer.now + 630)
        }
    }

    @Test("what is wrong with a token is found")
    func refused() async throws {
        func claims(_ changes: [String: String?]) -> String { TestIssuer.claims(changes) }
        let cases: [(String, TokenRejection, String)] = [
            ("expired", .expired, claims(["exp": "\(Int(TestIssuer.now) - 31)"])),
            ("without an end", .missingClaim, claims(["exp": nil])),
            ("not valid yet", .notYetValid, claims(["nbf": "\(Int(TestIssuer.now) + 31)"])),
            ("issued in the future", .notYetValid, claims(["iat": "\(Int(TestIssuer.now) + 31)"])),
            ("of another issuer", .issuer, claims(["iss": "\"https://evil.test\""])),
            ("without an issuer", .issuer, claims(["iss": nil])),
            ("for another audience", .audience, claims(["aud": "\"other\""])),
            ("for other audiences", .audience, claims(["aud": "[\"a\",\"b\"]"])),
            ("without an audience", .audience, claims(["aud": nil])),
            ("for nobody", .missingClaim, claims(["sub": nil])),
            ("for an empty name", .missingClaim, claims(["sub": "\"\""])),
            ("for a name with a line break", .missingClaim, claims(["sub": "\"a\\nb\""])),
            ("with an end that is no number", .malformed, claims(["exp": "\"soon\""])),
        ]
        for (what, wanted, claims) in cases {
            let found = try await rejection(issuer.token(claims: claims))
            #expect(found == wanted, "\(what)")
        }
        #expect(try await rejection(issuer.token(claims: claims(["aud": "[\"x\",\"cohort\"]"]))) == nil)
    }

    @Test("clocks may differ by the skew and no more")
    func skew() async throws {
        let token = try issuer.token(claims: TestIssuer.claims(["nbf": "\(Int(TestIssuer.now))"]))
        #expect(try await rejection(token, now: TestIssuer.now - 30) == nil)
        #expect(try await rejection(token, now: TestIssuer.now - 30.5) == .notYetValid)
        #expect(try await rejection(token, now: TestIssuer.now + 629.5) == nil)
        #expect(try await rejection(token, now: TestIssuer.now + 630) == .expired)
    }

    @Test("unsigned tokens, other algorithms and other keys are refused")
    func algorithms() async throws {
        let claims = TestIssuer.part(TestIssuer.claims())
        for algorithm in ["none", "None", "NONE", "HS256", "RS384", "ES384", ""] {
            let header = #"{"alg":"\#(algorithm)","kid":"\#(issuer.ed.identifier)"}"#
            #expect(try await rejection(issuer.token(header: header)) == .algorithm, "\(algorithm)")
            #expect(try await rejection(TestIssuer.part(header) + "." + claims + ".") == .algorithm, "\(algorithm)")
        }
        // Signed well, by a key that is not there, or of another one that bears the id.
        let stranger = TestIssuer()
        let verifier = try await issuer.verifier()
        #expect(try await rejection(stranger.token(), verifier) == .unknownKey)
        let borrowed = #"{"alg":"EdDSA","kid":"\#(issuer.ed.identifier)"}"#
        #expect(try await rejection(stranger.token(header: borrowed), verifier) == .signature)
        // The key is there, for another algorithm.
        #expect(
            try await rejection(issuer.token(header: #"{"alg":"ES256","kid":"\#(issuer.ed.identifier)"}"#))
                == .unknownKey
        )
        #expect(try await rejection(issuer.token(header: borrowed.dropLast() + #","crit":["exp"]}"#)) == .critical)
        #expect(try await rejection(issuer.token(header: borrowed.dropLast() + #","typ":"dpop+jwt"}"#)) == .malformed)
        #expect(try await rejection(issuer.token(header: borrowed.dropLast() + #","typ":"at+JWT"}"#)) == nil)
    }

    @Test("a public RSA key is no secret of HMAC")
    func keyConfusion() async throws {
        let rsa = try RSAIssuer()
        let verifier = try await issuer.verifier(rsa.jwk)
        let text = TestIssuer.part(#"{"alg":"HS256","kid":"rsa"}"#) + "." + TestIssuer.part(TestIssuer.claims())
        let (modulus, _) = try rsa.key.publicKey.getKeyPrimitives()
        for secret in [Data(rsa.pem.utf8), Data(modulus), Data()] {
            let code = HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: SymmetricKey(data: secret))
            #expect(try await rejection(text + "." + TestIssuer.base64URL(code), verifier) == .algorithm)
        }
        #expect(try await rejection(await rsa.token(), verifier) == nil)
    }

    @Test("a changed part is found, and what is no token is refused without a crash")
    func malformed() async throws {
        let token = try issuer.token()
        let parts = token.split(separator: ".").map(String.init)
        let other = TestIssuer.part(TestIssuer.claims(["sub": "\"mallory\""]))
        #expect(try await rejection("\(parts[0]).\(other).\(parts[2])") == .signature)
        #expect(try await rejection("\(parts[0]).\(parts[1]).") == .signature)
        for text in ["", ".", "..", "...", "a.b.c", parts[0], token + ".", "\(parts[0]).\(parts[1])", "e30.e30.e30"] {
            #expect(try await rejection(text) == .malformed, "\(text)")
        }
        #expect(try await rejection(token + String(repeating: "A", count: 9_000)) == .malformed)
        var random = SeededGenerator(seed: 7)
        for _ in 0..<2_000 {
            var bytes = Array(token.utf8)
            Mutation.apply(&bytes, &random)
            let changed = String(decoding: bytes, as: UTF8.self)
            // Base64url has spellings of the same bytes; what verifies must say the same.
            if changed != token, try await rejection(changed) == nil {
                #expect(try await issuer.verifier().verify(changed, now: TestIssuer.now).subject == "alice")
            }
        }
    }

    @Test("a key set is checked before it is used")
    func keySets() async throws {
        let ed = try issuer.edKey
        let cases: [(String, String)] = [
            ("[]", "'keys'"), (#"{"keys":[]}"#, "no key"),
            (#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#, "'kid'"),
            (#"{"keys":[\#(ed),\#(ed)]}"#, "two keys"),
            (#"{"keys":[{"kid":"a","kty":"oct","k":"c2VjcmV0"}]}"#, "kind oct"),
            (#"{"keys":[{"kid":"a","kty":"EC","crv":"P-384","x":"AA","y":"AA"}]}"#, "P-384"),
            (#"{"keys":[{"kid":"a","kty":"RSA","n":"AQAB","e":"AQAB"}]}"#, "shorter than 2048"),
            (#"{"keys":[{"kid":"a","kty":"RSA","alg":"HS256","n":"AQAB","e":"AQAB"}]}"#, "HS256"),
            (#"{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519","x":"AA"}]}"#, "cannot be used"),
            (#"{"keys":[\#(String(decoding: issuer.ed.privateKey, as: UTF8.self))]}"#, "private key"),
        ]
        for (text, wanted) in cases {
            let error = await #expect(throws: TokenKeys.Invalid.self) { try await TokenKeys(jwks: Data(text.utf8)) }
            #expect(error?.description.contains(wanted) == true, "\(text): \(error?.description ?? "")")
        }
        // Keys for encryption are others' business.
        let keys = try await TokenKeys(jwks: Data(#"{"keys":[{"kty":"EC","use":"enc"},\#(ed)]}"#.utf8))
        #expect(keys.identifiers == [issuer.ed.identifier])
    }

    @Test("a minted token is taken")
    func minted() async throws {
        let signer = try TokenSigner(privateKey: issuer.ed.privateKey)
        let claims = TokenClaims(
            claims: [
                "iss": .text(TestIssuer.issuer), "aud": .text(TestIssuer.audience), "sub": .text("bob"),
                "groups": .list(["a", "b"]),
            ],
            times: ["exp": TestIssuer.now + 60]
        )
        let found = try await issuer.verifier().verify(signer.sign(claims), now: TestIssuer.now)
        #expect(found == claims)
    }
}

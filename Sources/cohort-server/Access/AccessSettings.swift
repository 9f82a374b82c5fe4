import CohortAPI
import CohortServices
import RPC
import ServiceSettings

/// What the server is told about who may do what.
struct AccessSettings: Sendable {
    let isDevelopment: Bool
    /// The file of the policy; `nil` in development alone.
    let policyPath: String?
    /// The file of the public keys; `nil` where no tokens are taken.
    let keysPath: String?
    /// What tokens are taken; `nil` where none are.
    let tokens: TokenRequirements?
    private let maximumTokens: Int
    private let failures: GCRA.Limit
    private let maximumAddresses: Int
    private let maximumPrincipals: Int

    /// - Throws: ``SettingsError``.
    init(_ reader: SettingsReader, isDevelopment: Bool) throws {
        self.isDevelopment = isDevelopment
        policyPath = try reader.text("auth.policy")
        guard isDevelopment || policyPath != nil else {
            throw SettingsError(
                "without --dev everybody needs a role: set --auth-policy to the YAML file that gives them "
                    + "(docs/operations/access.md)"
            )
        }
        keysPath = try reader.text("auth.jwt.keys")
        let issuer = try reader.text("auth.jwt.issuer")
        let audience = try reader.text("auth.jwt.audience")
        let skew = try reader.seconds("auth.jwt.skew.seconds") / .seconds(1)
        let bytes = try reader.whole("limits.auth.token.bytes")
        if keysPath != nil {
            guard let issuer, let audience else {
                throw SettingsError("--auth-jwt-keys takes --auth-jwt-issuer and --auth-jwt-audience with it")
            }
            tokens = TokenRequirements(issuer: issuer, audience: audience, clockSkew: skew, maximumBytes: bytes)
        } else {
            guard issuer == nil, audience == nil else {
                throw SettingsError("--auth-jwt-issuer and --auth-jwt-audience need --auth-jwt-keys")
            }
            tokens = nil
        }
        maximumTokens = try reader.whole("limits.auth.tokens")
        failures = GCRA.Limit(
            perSecond: Double(try reader.whole("limits.auth.failures.minute")) / 60,
            burst: try reader.whole("limits.auth.failures.burst")
        )
        maximumAddresses = try reader.whole("limits.auth.addresses")
        maximumPrincipals = try reader.whole("limits.auth.principals")
    }

    /// Whether others may read a file is not asked in development.
    func secrecy(_ wanted: SettingsFile.Secrecy) -> SettingsFile.Secrecy { isDevelopment ? .unchecked : wanted }

    var authenticator: AuthenticatorConfiguration {
        var configuration = AuthenticatorConfiguration(methods: AccessTable.methods)
        configuration.tokens = tokens
        if isDevelopment {
            let all = Grants(roles: Set(Role.all), table: AccessTable.methods)
            configuration.anonymous = all
            if policyPath == nil { configuration.everyone = all }
        }
        configuration.maximumTokens = maximumTokens
        configuration.failures = failures
        configuration.maximumAddresses = maximumAddresses
        configuration.maximumPrincipals = maximumPrincipals
        configuration.errorDomain = CohortRelease.errorDomain
        return configuration
    }
}

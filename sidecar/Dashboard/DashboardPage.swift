import Crypto
import Foundation

/// The dashboard's page: one document with its style and script in it, and the policy that lets nothing else run.
struct DashboardPage: Sendable {
    let document: String
    /// The value of `Content-Security-Policy`: the style and the script by their hashes, figures from the sidecar alone.
    let policy: String

    init() {
        let style = Self.text(PackageResources.dashboard_css)
        let script = Self.text(PackageResources.charts_js) + Self.text(PackageResources.dashboard_js)
        document = Self.text(PackageResources.dashboard_html)
            .replacing("/*STYLE*/", with: style)
            .replacing("/*SCRIPT*/", with: script)
        policy = [
            "default-src 'none'", "script-src '\(Self.hash(script))'", "style-src '\(Self.hash(style))'",
            "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
            // Text is no markup: a script that would make it so is stopped.
            "require-trusted-types-for 'script'", "trusted-types 'none'",
        ].joined(separator: "; ")
    }

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    private static func hash(_ text: String) -> String {
        "sha256-" + Data(SHA256.hash(data: Data(text.utf8))).base64EncodedString()
    }
}

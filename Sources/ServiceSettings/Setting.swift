/// One setting of a program: its key, what it takes, and what it means. The key `tls.certificate` is the flag
/// `--tls-certificate`, the environment variable `COHORT_TLS_CERTIFICATE` and the YAML member `tls: {certificate: …}`.
package struct Setting: Sendable {
    package enum Kind: Sendable, Equatable {
        case text(default: String?)
        /// One of these words.
        case word([String], default: String)
        case flag
        case whole(ClosedRange<Int>, default: Int)
        case seconds(ClosedRange<Double>, default: Double)
        /// A part of the whole, 0 to 1.
        case ratio(default: Double)
        /// Seconds, or a number with `s`, `m`, `h` or `d`; 0 and `forever` for no end. The range is in seconds.
        case age(ClosedRange<Int64>, default: String)
        /// Bytes; 0 and `forever` for any number.
        case bytes(ClosedRange<Int>, default: Int)
    }

    package let key: String
    package let kind: Kind
    package let help: String

    package init(_ key: String, _ kind: Kind, _ help: String) {
        self.key = key
        self.kind = kind
        self.help = help
    }

    package var components: [String] { key.split(separator: ".").map(String.init) }
    package var flag: String { "--" + components.joined(separator: "-") }
    package var environmentVariable: String { (["cohort"] + components).joined(separator: "_").uppercased() }
}

/// The settings of a program, and what it says of them.
package struct SettingCatalogue: Sendable {
    let program: String
    let summary: String
    let usage: [String]
    /// All of them, in the order of `--help`.
    package let settings: [Setting]
    /// Variables with secrets, which no flag and no file with settings may hold.
    let secrets: Set<String>
    /// Variables that begin as those of settings do and are for other programs.
    let foreign: Set<String>

    package init(
        program: String,
        summary: String,
        usage: [String],
        settings: [Setting],
        secrets: Set<String> = [],
        foreign: Set<String> = []
    ) {
        self.program = program
        self.summary = summary
        self.usage = usage
        self.settings = settings
        self.secrets = secrets
        self.foreign = foreign
    }

    /// The setting that has this key; there is one for every key that the code names.
    func named(_ key: String) -> Setting? { settings.first { $0.key == key } }

    /// What `--help` prints.
    package var help: String {
        var lines = [summary, "", "Usage: " + usage.joined(separator: "\n       "), ""]
        lines += [
            "Every setting can be given as a flag, in the environment or in the YAML file, in this order of precedence.",
            "",
        ]
        for setting in settings {
            let words: String
            let standard: String
            switch setting.kind {
            case .text(let value): (words, standard) = ("TEXT", value ?? "none")
            case .word(let values, let value): (words, standard) = (values.joined(separator: "|"), value)
            case .flag: (words, standard) = ("", "off")
            case .whole(let range, let value):
                (words, standard) = ("\(range.lowerBound)…\(range.upperBound)", String(value))
            case .seconds(let range, let value):
                (words, standard) = ("\(range.lowerBound)…\(range.upperBound)", String(value))
            case .ratio(let value): (words, standard) = ("0…1", String(value))
            case .age(let range, let value):
                (words, standard) = ("\(range.lowerBound)s…\(range.upperBound)s|forever", value)
            case .bytes(let range, let value):
                (words, standard) = ("\(range.lowerBound)…\(range.upperBound)|forever", String(value))
            }
            lines.append("  \(setting.flag)\(words.isEmpty ? "" : " ")\(words)")
            lines.append("        \(setting.help) (default \(standard); \(setting.environmentVariable))")
        }
        return lines.joined(separator: "\n")
    }
}

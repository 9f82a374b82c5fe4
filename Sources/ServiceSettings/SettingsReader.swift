import Configuration
import Foundation
import SystemPackage
import Yams

/// A setting that cannot be used: names it as the operator wrote it, and says what would be right.
package struct SettingsError: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) {
        self.description = description
    }
}

/// Finds the value of each setting: flags before the environment before the file before the default.
package struct SettingsReader {
    private let sources: [any ConfigProvider]
    private let catalogue: SettingCatalogue
    private let secrets: [String: String]

    /// - Throws: ``SettingsError`` for an unknown flag or member, and for a file that cannot be read.
    package init(_ catalogue: SettingCatalogue, arguments: [String], environment: [String: String]) async throws {
        self.catalogue = catalogue
        try Self.check(arguments, catalogue)
        try Self.check(environment, catalogue)
        let flags = CommandLineArgumentsProvider(arguments: arguments)
        let variables = EnvironmentVariablesProvider(environmentVariables: environment).prefixKeys(with: "cohort")
        var sources: [any ConfigProvider] = [flags, variables]
        if let config = catalogue.named("config"), let path = try Self.text(config, sources) {
            try Self.checkFile(path, catalogue)
            do {
                sources.append(try await FileProvider<YAMLSnapshot>(filePath: FilePath(path)))
            } catch {
                throw SettingsError("the configuration file '\(path)' cannot be used: \(error)")
            }
        }
        self.sources = sources
        secrets = environment.filter { catalogue.secrets.contains($0.key) && !$0.value.isEmpty }
    }

    /// The value of a variable with a secret.
    package func secret(_ variable: String) -> String? { secrets[variable] }

    package func text(_ key: String) throws -> String? {
        guard case .text(let standard) = setting(key).kind else { preconditionFailure("\(key) is no text") }
        return try Self.text(setting(key), sources) ?? standard
    }

    package func word(_ key: String) throws -> String? {
        guard case .word(let words, _) = setting(key).kind else { preconditionFailure("\(key) is no word") }
        guard let (name, content) = try Self.find(setting(key), .string, sources) else { return nil }
        guard case .string(let word) = content, words.contains(word) else {
            throw SettingsError("\(name) takes one of \(words.joined(separator: ", "))")
        }
        return word
    }

    package func flag(_ key: String) throws -> Bool {
        guard case .bool(let value) = try Self.find(setting(key), .bool, sources)?.1 else { return false }
        return value
    }

    package func whole(_ key: String) throws -> Int {
        guard case .whole(let range, let standard) = setting(key).kind else {
            preconditionFailure("\(key) is no whole number")
        }
        guard let (name, content) = try Self.find(setting(key), .int, sources) else { return standard }
        guard case .int(let value) = content, range.contains(value) else {
            throw SettingsError("\(name) takes a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    package func seconds(_ key: String) throws -> Duration {
        guard case .seconds(let range, let standard) = setting(key).kind else {
            preconditionFailure("\(key) is no number of seconds")
        }
        var value = standard
        if let (name, content) = try Self.find(setting(key), .double, sources) {
            guard case .double(let given) = content, range.contains(given) else {
                throw SettingsError("\(name) takes \(range.lowerBound) to \(range.upperBound) seconds")
            }
            value = given
        }
        return .milliseconds(Int64((value * 1_000).rounded()))
    }

    package func ratio(_ key: String) throws -> Double {
        guard case .ratio(let standard) = setting(key).kind else { preconditionFailure("\(key) is no ratio") }
        guard let (name, content) = try Self.find(setting(key), .double, sources) else { return standard }
        guard case .double(let value) = content, (0...1).contains(value) else {
            throw SettingsError("\(name) takes a number from 0 to 1")
        }
        return value
    }

    /// Seconds; `nil` for no end.
    package func age(_ key: String) throws -> Int64? {
        guard case .age(let range, let standard) = setting(key).kind else {
            preconditionFailure("\(key) is no age")
        }
        let (name, text) = try Self.words(setting(key), sources) ?? (key, standard)
        if text == "forever" || text == "0" { return nil }
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]
        let unit = text.last.flatMap { units[$0] }
        let (product, overflow) = (Int64(unit == nil ? text : String(text.dropLast())) ?? -1)
            .multipliedReportingOverflow(by: unit ?? 1)
        guard !overflow, range.contains(product) else {
            throw SettingsError(
                "\(name) takes \(range.lowerBound) to \(range.upperBound) seconds, a number with s, m, h or d, or forever"
            )
        }
        return product
    }

    /// `nil` for any number.
    package func bytes(_ key: String) throws -> UInt64? {
        guard case .bytes(let range, let standard) = setting(key).kind else {
            preconditionFailure("\(key) is no number of bytes")
        }
        guard let (name, text) = try Self.words(setting(key), sources) else { return UInt64(standard) }
        if text == "forever" || text == "0" { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw SettingsError("\(name) takes \(range.lowerBound) to \(range.upperBound) bytes, or forever")
        }
        return UInt64(value)
    }

    /// A text, in a file also a number.
    private static func words(_ setting: Setting, _ sources: [any ConfigProvider]) throws -> (
        name: String, text: String
    )? {
        if let found = try? find(setting, .string, sources), case .string(let text) = found.1 {
            return (found.name, text)
        }
        guard let (name, content) = try find(setting, .int, sources), case .int(let value) = content else { return nil }
        return (name, String(value))
    }

    private func setting(_ key: String) -> Setting {
        guard let setting = catalogue.named(key) else { preconditionFailure("there is no setting \(key)") }
        return setting
    }

    private static func text(_ setting: Setting, _ sources: [any ConfigProvider]) throws -> String? {
        guard case .string(let value) = try find(setting, .string, sources)?.1, !value.isEmpty else { return nil }
        return value
    }

    private static func find(
        _ setting: Setting,
        _ type: ConfigType,
        _ sources: [any ConfigProvider]
    ) throws -> (name: String, ConfigContent)? {
        let names = [setting.flag, setting.environmentVariable, "'\(setting.key)' in the configuration file"]
        for (source, name) in zip(sources, names) {
            do {
                let key = AbsoluteConfigKey(ConfigKey(setting.components))
                if let value = try source.value(forKey: key, type: type).value { return (name, value.content) }
            } catch {
                throw SettingsError("\(name) has a value of the wrong type; \(expectation(setting))")
            }
        }
        return nil
    }

    private static func expectation(_ setting: Setting) -> String {
        switch setting.kind {
        case .text: "it takes a text"
        case .word(let words, _): "it takes one of \(words.joined(separator: ", "))"
        case .flag: "it takes true or false"
        case .whole(let range, _): "it takes a whole number from \(range.lowerBound) to \(range.upperBound)"
        case .seconds(let range, _): "it takes \(range.lowerBound) to \(range.upperBound) seconds"
        case .ratio: "it takes a number from 0 to 1"
        case .age(let range, _):
            "it takes \(range.lowerBound) to \(range.upperBound) seconds, a number with s, m, h or d, or forever"
        case .bytes(let range, _): "it takes \(range.lowerBound) to \(range.upperBound) bytes, or forever"
        }
    }

    // MARK: What no setting has asked for is a mistake, not something to pass over

    private static func check(_ arguments: [String], _ catalogue: SettingCatalogue) throws {
        var isValue = false
        for argument in arguments.dropFirst() {
            if argument.hasPrefix("--") {
                let name = argument.split(separator: "=", maxSplits: 1)[0]
                guard let setting = catalogue.settings.first(where: { $0.flag == name }) else {
                    throw SettingsError("there is no flag \(name); --help lists them")
                }
                isValue = setting.kind != .flag && !argument.contains("=")
            } else if isValue {
                isValue = false
            } else {
                throw SettingsError("'\(argument)' belongs to no flag; --help lists them")
            }
        }
    }

    private static func check(_ environment: [String: String], _ catalogue: SettingCatalogue) throws {
        let known = Set(catalogue.settings.map(\.environmentVariable)).union(catalogue.foreign).union(catalogue.secrets)
        for name in environment.keys.sorted() where name.hasPrefix("COHORT_") && !known.contains(name) {
            throw SettingsError("the environment variable \(name) is no setting; --help lists them")
        }
    }

    private static func checkFile(_ path: String, _ catalogue: SettingCatalogue) throws {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw SettingsError("the configuration file '\(path)' cannot be read")
        }
        let root: Node?
        do { root = try Yams.compose(yaml: text) } catch {
            throw SettingsError("the configuration file '\(path)' is no YAML: \(error)")
        }
        guard let root else { return }
        try check(root, [], path, catalogue)
    }

    private static func check(_ node: Node, _ components: [String], _ path: String, _ catalogue: SettingCatalogue)
        throws
    {
        guard let mapping = node.mapping else {
            let key = components.joined(separator: ".")
            guard catalogue.named(key) != nil else {
                throw SettingsError("'\(key)' in the configuration file '\(path)' is no setting; --help lists them")
            }
            return
        }
        for (name, value) in mapping {
            guard let name = name.string else {
                throw SettingsError("a member name in the configuration file '\(path)' is no text")
            }
            try check(value, components + [name], path, catalogue)
        }
    }
}

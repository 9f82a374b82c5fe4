import Testing

@testable import CEL

@Suite struct PatternTests {
    static func matches(_ pattern: String, _ text: String) throws -> Bool {
        let pattern = try Pattern(pattern, limit: 1_000)
        var text = text
        return text.withUTF8 { pattern.matches($0) }
    }

    @Test(arguments: [
        ("", ["", "x"], []), ("abc", ["xabcx"], ["ab", "acb"]), ("^abc$", ["abc"], ["xabc", "abcx", "abc\n"]),
        ("a|b|", ["", "c"], []), ("^(a|bc)+$", ["abca", "bc"], ["", "ab", "cb"]), ("^a?b*c+$", ["c", "abbcc"], ["ab"]),
        ("^a{2}$", ["aa"], ["a", "aaa"]), ("^a{2,}$", ["aa", "aaaaa"], ["a"]),
        ("^a{1,3}$", ["a", "aaa"], ["", "aaaa"]),
        ("^a{,3}$", ["a{,3}"], ["aaa"]), ("a{x", ["a{x"], ["a"]), ("^.$", ["a", "é", "🐱"], ["\n", "ab"]),
        ("(?s)^.$", ["\n"], [""]), ("(?m)^b$", ["a\nb\nc"], ["ab"]), ("(?i)straße", ["STRAßE"], ["strasse"]),
        ("(?i)^k$", ["k", "K", "\u{212A}"], ["c"]), ("(?i)[a-c]+$", ["ABC"], ["xyz"]),
        ("a(?i)b(?-i)c", ["aBc"], ["ABC", "abC"]),
        ("(?i:a)b", ["Ab"], ["AB"]), ("[^a-c]", ["d"], ["abc"]), ("[]a]", ["]"], ["b"]), ("[a\\]]", ["]"], ["b"]),
        ("[a-]", ["-"], ["b"]), ("[[:digit:]x]+$", ["1x"], ["y"]), ("[[:^alpha:]]", ["1"], ["a"]),
        ("^\\d+\\s\\w$", ["12 _"], ["é 1"]),
        ("^\\D\\S\\W$", ["ab-"], ["1b-"]), ("\\bfoo\\b", ["a foo b"], ["afoo", "foob"]), ("\\Boo", ["foo"], ["oo"]),
        ("\\Aa\\z", ["a"], ["ba", "ab"]), ("^\\x41\\x{1F431}\\101$", ["A🐱A"], ["A"]), ("\\Qa.b\\E+", ["a.bb"], ["axb"]),
        ("^\\pL+$", ["aéΩ"], ["a1"]), ("^\\p{Lu}\\P{Lu}$", ["Ab"], ["ab"]), ("^[\\p{Nd}a]$", ["٣", "a"], ["b"]),
        ("(?P<year>\\d{4})-(?<month>\\d\\d)", ["on 2024-05"], ["24-05"]), ("a+?b", ["aab"], ["b"]),
        ("(a*)*", ["", "b"], []),
        ("(a*)+$", ["", "aaa"], []), ("(|a)+b", ["aab", "b"], ["a"]),
        ("^(?:a?){20}a{20}$", [String(repeating: "a", count: 20)], ["a"]),
        ("x{0}y", ["y"], ["x"]), ("[α-ω]+", ["xδx"], ["abc"]), ("\\.", ["."], ["a"]), ("a\\/b", ["a/b"], ["ab"]),
    ])
    func agreesWithRE2(pattern: String, accepted: [String], rejected: [String]) throws {
        for text in accepted { #expect(try Self.matches(pattern, text), "\(pattern) on \(text)") }
        for text in rejected { #expect(try !Self.matches(pattern, text), "\(pattern) on \(text)") }
    }

    @Test(arguments: [
        "(", ")", "a)", "[", "[a", "[z-a]", "*", "+a", "a**", "a+*", "a{2}{3}", "a{3,2}", "a{1001}", "\\", "\\1",
        "(a)\\1",
        "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)", "\\Z", "\\C", "\\pX", "\\p{Greek}", "(?P<>a)", "(?P=n)", "(?z)",
        "[[:foo:]]", "\\xZ", "\\x{110000}", "(?i", "(?P<n", "\\e", "a{2,1}", "|*",
    ])
    func refusesWhatRE2Refuses(pattern: String) {
        #expect(throws: PatternError.self) { try Pattern(pattern, limit: 1_000) }
    }

    @Test func sizeIsLimitedAsItGrows() {
        #expect(throws: PatternError.self) { try Pattern("(((a{1000}){1000}){1000}){1000}", limit: 1_000) }
        #expect(throws: PatternError.self) { try Pattern(String(repeating: "(", count: 5_000), limit: 1_000) }
        #expect(throws: Never.self) { try Pattern("(?:){1000}", limit: 1_000) }
    }

    @Test func randomPatternsNeitherCrashNorHang() {
        let pieces = [
            "a", "b", ".", "*", "+", "?", "{2}", "{1,3}", "(", ")", "|", "[a-c]", "[^b]", "^", "$", "\\b", "\\d",
            "(?i)", "(?:",
            "é", "\\pL", "[[:alpha:]]", "\\", "]", "{", "-",
        ]
        var random = Random(21)
        var valid = 0
        for _ in 0..<6_000 {
            let text = (0..<random.below(12)).map { _ in random.pick(pieces) }.joined()
            guard let pattern = try? Pattern(text, limit: 500) else { continue }
            valid += 1
            var subject = String(repeating: random.pick(["a", "ab", "é", "b1 "]), count: random.below(40))
            _ = subject.withUTF8 { pattern.matches($0) }
        }
        #expect(valid > 600)
    }
}

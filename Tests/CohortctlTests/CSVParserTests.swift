import Testing

@testable import cohortctl

@Suite("CSV")
struct CSVParserTests {
    /// Everything that parsing `text` gives, fed in pieces of `size` bytes.
    private func parse(
        _ text: String,
        pieces size: Int = .max,
        limit: Int = 1 << 20
    ) -> [Result<CSVParser.Record, CSVParser.Malformed>] {
        var results: [Result<CSVParser.Record, CSVParser.Malformed>] = []
        var parser = CSVParser(maximumRecordBytes: limit)
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            parser.feed(rest.prefix(size)) { results.append($0) }
            rest = rest.dropFirst(size)
        }
        parser.finish { results.append($0) }
        return results
    }

    private func fields(_ text: String, pieces: Int = .max) throws -> [[String]] {
        try parse(text, pieces: pieces).map { try $0.get().fields }
    }

    @Test("Plain, quoted and empty fields, and line ends of every kind")
    func fields() throws {
        #expect(try fields("a,b,c\n1,,3\n") == [["a", "b", "c"], ["1", "", "3"]])
        #expect(try fields("a,b\r\n\"x,\"\"y\"\"\",\"two\nlines\"\r\n") == [["a", "b"], ["x,\"y\"", "two\nlines"]])
        #expect(try fields("a\rb\rc") == [["a"], ["b"], ["c"]])
        #expect(try fields("a,\n\n\"\"\n") == [["a", ""], [""]])
        #expect(try fields("\u{FEFF}id,x\n") == [["id", "x"]])
    }

    @Test("The size of the pieces makes no difference", arguments: [1, 2, 3, 7])
    func pieces(size: Int) throws {
        let text = "\u{FEFF}id,näme\r\n1,\"a \"\"q\"\", b\"\r\n2,\"x\ny\"\n\n3,ü"
        #expect(try fields(text, pieces: size) == fields(text))
    }

    @Test("A record has the number of the line it begins on")
    func lines() throws {
        let lines = try parse("h\n\"a\nb\"\n\nc\r\nd").map { try $0.get().line }
        #expect(lines == [1, 2, 5, 6])
    }

    @Test("A malformed record is refused with its line and text, and the next one is taken")
    func malformed() throws {
        let results = parse("a,b\n1,x\"y\n\"z\"w,2\n3,4\n\"open,5\n6,7")
        #expect(results.count == 5)
        #expect(throws: CSVParser.Malformed.self) { try results[1].get() }
        guard case .failure(let quote) = results[1], case .failure(let behind) = results[2],
            case .failure(let open) = results[4]
        else {
            Issue.record("expected three refusals, got \(results)")
            return
        }
        #expect(quote.line == 2 && quote.text == "1,x\"y" && quote.reason.contains("quote the whole field"))
        #expect(behind.line == 3 && behind.reason.contains("double the quotes"))
        #expect(try results[3].get().fields == ["3", "4"])
        #expect(open.line == 5 && open.reason.contains("not closed"))
    }

    @Test("A record over the limit is refused without being kept")
    func limit() throws {
        let results = parse("a\n" + String(repeating: "x", count: 100) + "\nb\n", limit: 10)
        #expect(results.count == 3)
        guard case .failure(let long) = results[1] else {
            Issue.record("expected a refusal")
            return
        }
        #expect(long.text.utf8.count == 10 && long.reason.contains("longer than 10 bytes"))
        #expect(try results[2].get().fields == ["b"])
    }

    @Test("A quoted field over the limit ends at its quote: the rows behind it are taken")
    func longQuotedField() throws {
        let results = parse("a\n\"" + String(repeating: "x\n", count: 50) + "\"\nb\n", limit: 10)
        #expect(results.count == 3)
        guard case .failure(let long) = results[1] else {
            Issue.record("expected a refusal")
            return
        }
        #expect(long.line == 2 && long.reason.contains("goes on to line 52"))
        #expect(try results[2].get() == CSVParser.Record(line: 53, fields: ["b"], text: "b"))
    }

    @Test("A byte order mark before a quoted header is no part of it", arguments: [1, 2, 100])
    func byteOrderMark(size: Int) throws {
        #expect(try fields("\u{FEFF}\"id\",x\n1,2\n", pieces: size) == [["id", "x"], ["1", "2"]])
        #expect(try fields("\u{FEFF}", pieces: size).isEmpty)
    }

    @Test("A field that is not UTF-8 is refused")
    func notUTF8() {
        var parser = CSVParser()
        var results: [Result<CSVParser.Record, CSVParser.Malformed>] = []
        parser.feed([0x61, 0x2C, 0xFF, 0x0A] as [UInt8]) { results.append($0) }
        guard case .failure(let fault) = results.first else {
            Issue.record("expected a refusal")
            return
        }
        #expect(fault.reason.contains("UTF-8"))
    }
}

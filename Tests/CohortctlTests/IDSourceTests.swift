import Foundation
import Testing

@testable import cohortctl

@Suite("Files of ids")
struct IDSourceTests {
    private func read(_ text: String, column: String? = nil) throws -> (ids: [String], lines: [Int?]) {
        let path = NSTemporaryDirectory() + "ids-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        let file = try #require(FileHandle(forReadingAtPath: path))
        var source = IDSource(file: file, column: column)
        var ids: [String] = []
        while case let next = try source.next(), !next.isEmpty { ids += next }
        return (ids, (0...ids.count).map { source.lines[$0] })
    }

    @Test("One id a line, or the first column; the lines are kept")
    func plain() throws {
        let plain = try read("\u{FEFF}a\r\nb\n\n\nc,more\n\"d\nd\",x\ne")
        #expect(plain.ids == ["a", "b", "c", "d\nd", "e"])
        #expect(plain.lines == [1, 2, 5, 6, 8, nil])
        #expect(try read("").ids.isEmpty)
    }

    @Test("A named column")
    func column() throws {
        let named = try read("x,id\n1,a\n2,b\n", column: "id")
        #expect(named.ids == ["a", "b"] && named.lines == [2, 3, nil])
    }

    @Test(
        "What cannot be read ends the upload, with the line and the reason",
        arguments: [
            ("a\nb\"c\n", nil, "line 2"), ("x,id\n1,a\n2\n", "id", "line 3"), ("", "id", "empty"),
            ("x,id\n", "idd", "did you mean 'id'"),
        ] as [(String, String?, String)]
    )
    func faults(text: String, column: String?, word: String) throws {
        let error = #expect(throws: CommandFailure.self) { try read(text, column: column) }
        #expect(error?.message.contains(word) == true)
    }
}

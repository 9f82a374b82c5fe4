import Foundation
import Synchronization
import Testing

@testable import Telemetry

@Suite("Log output")
struct LogOutputTests {
    @Test("A line costs what the first one did: nothing piles up on the stack")
    func stack() async {
        let counted = Counted()
        await withCheckedContinuation { continuation in
            let thread = Thread {
                let output = LogOutput { counted.bytes.add($0.utf8.count, ordering: .relaxed) }
                for _ in 0..<50_000 { output.write("line\n") }
                continuation.resume()
            }
            thread.stackSize = 512 << 10
            thread.start()
        }
        #expect(counted.bytes.load(ordering: .relaxed) == 250_000)
    }

    private final class Counted: Sendable {
        let bytes = Atomic<Int>(0)
    }
}

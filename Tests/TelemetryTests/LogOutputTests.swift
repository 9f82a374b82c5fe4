import Dispatch
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
                let output = LogOutput(capacity: 50_000) {
                    counted.bytes.add($0.utf8.count, ordering: .relaxed)
                    return true
                }
                for _ in 0..<50_000 { output.write("line\n") }
                output.flush()
                continuation.resume()
            }
            thread.stackSize = 512 << 10
            thread.start()
        }
        #expect(counted.bytes.load(ordering: .relaxed) == 250_000)
    }

    @Test("A sink that is stuck holds nobody up: what finds room is written in order later, the rest is counted")
    func stuck() {
        let isFree = DispatchSemaphore(value: 0)
        let written = Written()
        let output = LogOutput(capacity: 10) { line in
            isFree.wait()
            isFree.signal()
            written.lines.withLock { $0.append(line) }
            return line != "3"
        }
        for number in 0..<15 { output.write("\(number)") }
        #expect(output.linesLost == 5)
        isFree.signal()
        output.flush()
        #expect(written.lines.withLock { $0 } == (0..<10).map { "\($0)" })
        // One more: the sink could not write it.
        #expect(output.linesLost == 6)
        output.write("later")
        output.flush()
        #expect(written.lines.withLock { $0.last } == "later")
    }

    private final class Written: Sendable {
        let lines = Mutex<[String]>([])
    }

    private final class Counted: Sendable {
        let bytes = Atomic<Int>(0)
    }
}

import CohortCore
import CohortSQLite
import CrashTesting
import Foundation
import Synchronization

/// An engine over a data directory, in a process of its own that a test kills. Takes operations from standard input, a
/// line of JSON each, runs some of them at once, and says on standard output what was acknowledged: a line each, written
/// before the next is taken.
///
/// Arguments: data directory, clock in seconds, operations at once, customers that the readers ask for, then the sizes of
/// the engine's configuration.
@main
enum CrashWorker {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 10, let seconds = Int64(arguments[2]), let clock = Timestamp(seconds: seconds) else {
            FileHandle.standardError.write(Data("usage: cohort-crash-worker DIRECTORY CLOCK … (see the source)\n".utf8))
            exit(2)
        }
        let sizes = arguments[3...].map { Int($0) ?? 1 }
        var configuration = EngineConfiguration()
        configuration.groupRows = sizes[2]
        configuration.publishSlice = sizes[3]
        configuration.materializeRows = sizes[4]
        configuration.materializeInterval = sizes[5]
        configuration.bulkThreshold = sizes[6]
        let engine = Engine(
            store: SQLiteStore(directory: arguments[1], audit: .forTests()),
            configuration: configuration,
            environment: EngineEnvironment(now: { clock })
        )
        let started = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            do {
                try engine.start()
            } catch {
                FileHandle.standardError.write(Data("\(error)\n".utf8))
                exit(1)
            }
            started.signal()
        }
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                started.wait()
                continuation.resume()
            }
        }
        let readers = InvariantReaders(engine, customers: (0..<sizes[1]).map { "customer-\($0)" }) { violation in
            var report = WorkerReport()
            report.violation = violation
            say(report)
        }
        await serve(engine, readers, atOnce: sizes[0])
    }

    private static func serve(_ engine: Engine, _ readers: InvariantReaders, atOnce: Int) async {
        let room = DispatchSemaphore(value: atOnce)
        let (lines, continuation) = AsyncStream.makeStream(of: String.self)
        Thread.detachNewThread {
            while let line = readLine() {
                room.wait()
                continuation.yield(line)
            }
            continuation.finish()
        }
        await withDiscardingTaskGroup { group in
            for await line in lines {
                guard let operation = try? JSONDecoder().decode(WorkerOperation.self, from: Data(line.utf8)) else {
                    FileHandle.standardError.write(Data("not an operation: \(line)\n".utf8))
                    exit(1)
                }
                group.addTask {
                    var report = await operation.run(on: engine)
                    report.checks = readers.checks.all
                    say(report)
                    room.signal()
                }
            }
        }
    }

    private static let output = Mutex(())

    private static func say(_ report: WorkerReport) {
        guard var line = try? JSONEncoder().encode(report) else { return }
        line.append(10)
        output.withLock { _ in FileHandle.standardOutput.write(line) }
    }
}

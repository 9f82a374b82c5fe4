import Foundation

// libFuzzer over the same targets as `FuzzTests`: `scripts/fuzz` builds and runs it. The first byte of an input says which
// connection it is for, so that one corpus serves all.

/// libFuzzer's own entry: it takes the arguments of the command line and calls back with every input.
@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

func problem(with input: [UInt8]) throws -> String? {
    guard let first = input.first else { return nil }
    let rest = Array(input.dropFirst())
    if first & 1 == 0 {
        if let problem = FuzzedDecoder.problem(with: rest) { return problem }
        let server = FuzzedServer(extended: first & 2 != 0)
        if let problem = try server.problem(with: rest) { return problem }
        server.reset()
        return server.leaks ? "the connection was closed and is still in memory" : nil
    }
    let client = try FuzzedClient(extended: first & 2 != 0)
    let problem = try client.problem(with: rest)
    return client.problemAtEnd() ?? problem
}

/// Starts a corpus with the regressions, and with sessions of both sides from a fixed seed.
func writeSeeds(to directory: String) throws {
    var random = SeededGenerator(seed: 1)
    var seeds: [[UInt8]] = []
    for input in FuzzInputs.regressions { for first in 0..<4 as Range<UInt8> { seeds.append([first] + input) } }
    for first in 0..<4 as Range<UInt8> {
        for _ in 0..<200 {
            let input = first & 1 == 0 ? FuzzInputs.fromClient(&random) : FuzzInputs.fromServer(&random)
            seeds.append([first] + input)
        }
    }
    for (number, seed) in seeds.enumerated() {
        try Data(seed).write(to: URL(fileURLWithPath: directory).appendingPathComponent("seed-\(number)"))
    }
}

if CommandLine.arguments.count == 3, CommandLine.arguments[1] == "--write-seeds" {
    try writeSeeds(to: CommandLine.arguments[2])
} else {
    var count = CommandLine.argc
    var arguments = CommandLine.unsafeArgv
    exit(
        runDriver(&count, &arguments) { bytes, count in
            do {
                if let problem = try problem(with: Array(UnsafeBufferPointer(start: bytes, count: count))) {
                    fatalError(problem)
                }
            } catch {
                fatalError("\(error)")
            }
            return 0
        }
    )
}

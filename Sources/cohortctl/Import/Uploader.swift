import ArgumentParser
import CohortAPI
import Foundation
import RPC
import SwiftProtobuf

/// How the file of an upload is read and its receipt written.
struct UploadOptions: ParsableArguments {
    @Option(
        help: "The column of a CSV file that has the ids. Without, the file has no header, and its first column has."
    )
    var column: String?
    @Option(help: "A CSV file for the ids that changed nothing: line, reason, row; at most 1,000 for each reason.")
    var rejects: String?
    @Flag(help: "Take a file without ids: --replace-file then empties the list.") var allowEmpty = false

    var isGiven: Bool { column != nil || rejects != nil || allowEmpty }
}

/// Sends the ids of a file to the server, which makes them take effect in one step.
struct Uploader {
    /// Ids and bytes in one message; the server takes at most 10,000 and 4 MiB.
    private static let batchIDs = 10_000
    private static let batchBytes = 1 << 20

    let cohort: String
    let mode: UploadMode
    /// A path, or `-` for standard input.
    let path: String
    let options: UploadOptions

    /// Sends everything and shows the receipt.
    ///
    /// - Throws: `RPCError` when the server refuses, ``CommandFailure`` when the file cannot be used. Nothing has
    ///   changed then.
    func run(_ session: SessionOptions) async throws {
        let (file, size) = try open()
        let rejects = try options.rejects.map { try RejectsFile(path: $0, appending: false) }
        try await session.withClient { client in
            var source = IDSource(file: file, column: options.column)
            // No deadline: the server has one for uploads.
            let call = try await CohortClient(client).cohorts.uploadAssignments()
            let receipt = try await send(&source, to: call, size)
            try write(receipt, source.lines, to: rejects)
            try session.show(receipt) { text(receipt, source.lines) }
        }
    }

    private func open() throws -> (FileHandle, Int?) {
        if path == "-" { return (.standardInput, nil) }
        guard let file = FileHandle(forReadingAtPath: path),
            let size = try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
        else { throw CommandFailure.usage("cannot read the file '\(path)'") }
        return (file, size)
    }

    private func send(
        _ source: inout IDSource,
        to call: ClientStreamCall<UploadAssignmentsRequest, UploadAssignmentsResponse>,
        _ size: Int?
    ) async throws -> UploadAssignmentsResponse {
        var bar = ProgressBar(total: size ?? 0)
        defer { bar.finish() }
        var request = UploadAssignmentsRequest.with {
            $0.cohortID = cohort
            $0.mode = mode
        }
        var (sent, bytes) = (0, 0)
        do {
            while true {
                let ids = try source.next()
                if ids.isEmpty { break }
                for id in ids {
                    request.customerIds.append(id)
                    bytes += id.utf8.count + 3
                    guard request.customerIds.count >= Self.batchIDs || bytes >= Self.batchBytes else { continue }
                    sent += request.customerIds.count
                    try await call.write(request)
                    (request, bytes) = (UploadAssignmentsRequest(), 0)
                }
                if size != nil { bar.update(done: source.bytesRead, note: "\(sent) ids") }
            }
            guard sent + request.customerIds.count > 0 || options.allowEmpty else {
                throw CommandFailure.failed("'\(path)' has no ids; nothing was changed. --allow-empty takes it")
            }
            request.complete = true
            try await call.write(request)
        } catch is RPCError {
            // The call has ended before everything was sent: the server's answer says why.
            return try await call.response()
        }
        return try await call.finish()
    }

    private func write(
        _ receipt: UploadAssignmentsResponse,
        _ lines: LineNumbers,
        to rejects: RejectsFile?
    ) throws {
        for (id, reason) in Self.refused(receipt) {
            try rejects?.add(line: lines[Int(id.position)] ?? 0, reason: reason, row: id.customerID)
        }
    }

    private static func refused(_ receipt: UploadAssignmentsResponse) -> [(UploadedID, String)] {
        (receipt.unknownIds.map { ($0, "no such customer") }
            + receipt.invalidIds.map { ($0, "no customer can have this id") })
            .sorted { $0.0.position < $1.0.position }
    }

    /// For people.
    private func text(_ receipt: UploadAssignmentsResponse, _ lines: LineNumbers) -> String {
        var rows = ["received         \(receipt.received)"]
        let removes = mode == .listRemove || mode == .clear
        if !removes {
            rows.append("added            \(receipt.added)")
            rows.append("already present  \(receipt.alreadyPresent)")
        }
        if removes || receipt.removed > 0 { rows.append("removed          \(receipt.removed)") }
        if removes { rows.append("not present      \(receipt.notPresent)") }
        rows.append("unknown          \(receipt.unknown)")
        rows.append("invalid          \(receipt.invalid)")
        if receipt.erased > 0 { rows.append("erased           \(receipt.erased)") }
        let refused = Self.refused(receipt)
        rows += refused.prefix(ImportReceipt.maximumRejections).map { id, reason in
            "  line \(lines[Int(id.position)] ?? 0): \(reason): \(id.customerID)"
        }
        let total = Int(receipt.unknown + receipt.invalid)
        if total > ImportReceipt.maximumRejections {
            rows.append(
                "  … and \(total - ImportReceipt.maximumRejections) more; --rejects FILE writes the first 1,000 of each kind"
            )
        }
        rows.append("entered          \(receipt.entered)")
        rows.append("left             \(receipt.left)")
        rows.append("sequence         \(receipt.sequence)")
        return rows.joined(separator: "\n")
    }
}

import CZlib
import Foundation

/// Compresses a whole message (RFC 1952), as quickly as zlib can: the text of spans shrinks to a fraction all the same.
enum Gzip {
    /// - Returns: Nil where zlib has no memory for it.
    static func compress(_ data: Data) -> Data? {
        var stream = z_stream()
        // 15 bits of window, and 16 for the header of gzip.
        guard
            deflateInit2_(
                &stream,
                Z_BEST_SPEED,
                Z_DEFLATED,
                15 + 16,
                8,
                Z_DEFAULT_STRATEGY,
                ZLIB_VERSION,
                Int32(MemoryLayout<z_stream>.size)
            ) == Z_OK
        else { return nil }
        defer { deflateEnd(&stream) }
        var output = Data(count: Int(deflateBound(&stream, UInt(data.count))))
        var input = data
        let isDone = output.withUnsafeMutableBytes { output in
            input.withUnsafeMutableBytes { input in
                stream.next_in = input.bindMemory(to: UInt8.self).baseAddress
                stream.avail_in = UInt32(clamping: input.count)
                stream.next_out = output.bindMemory(to: UInt8.self).baseAddress
                stream.avail_out = UInt32(clamping: output.count)
                // One step does it: the output has room for the worst case.
                return deflate(&stream, Z_FINISH) == Z_STREAM_END
            }
        }
        guard isDone else { return nil }
        output.removeSubrange(Int(stream.total_out)...)
        return output
    }
}

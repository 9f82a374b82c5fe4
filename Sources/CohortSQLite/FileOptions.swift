/// How the files of a store are opened. The defaults are what a server uses; tests change them.
struct FileOptions: Sendable {
    enum Synchronous: Int, Sendable {
        case off = 0
        case full = 2
    }

    /// Anything but FULL loses acknowledged writes with the power.
    var logSynchronous = Synchronous.full
    /// Seconds to wait for a lock that another connection holds on the log. Six times that for the tables.
    var busySeconds = 5.0
    /// Pages in the write-ahead log at which it is moved into the file, which syncs the file: one for every 32 MiB of log,
    /// not for every 4.
    var logCheckpointPages = 8_192
    var tablesCheckpointPages = 16_384
}

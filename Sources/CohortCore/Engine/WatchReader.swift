/// Reads the log for watches. Blocks on the store.
struct WatchReader: Sendable {
    let shared: EngineShared

    /// Up to `limit` entries from a sequence on that the log has reached; at least one.
    func entries(from sequence: UInt64, limit: Int) -> Result<[WatchEntry], DomainError> {
        read { () throws(StoreError) in
            let rows = try shared.store.readLog(from: sequence, limit: limit)
            guard let first = rows.first else { throw .corrupt("the change log does not reach \(sequence)") }
            guard first.sequence == sequence else { return .failure(Self.tooOld(oldest: first.sequence)) }
            var entries: [WatchEntry] = []
            for row in rows {
                do throws(CodecError) {
                    entries.append(WatchEntry(try row.decoded()))
                } catch {
                    throw .corrupt("entry \(row.sequence) of the change log cannot be read: \(error.message)")
                }
            }
            return .success(entries)
        }
    }

    /// The sets of a bulk change, as long as the log has its entry.
    func sets(of reference: BulkReference, sequence: UInt64) -> Result<BulkChange, DomainError> {
        read { () throws(StoreError) in
            do throws(StoreError) {
                return .success(try shared.store.loadBulk(reference))
            } catch {
                // Retention deletes the sets once it has deleted the entry.
                let oldest = try shared.store.readLog(from: 0, limit: 1).first?.sequence ?? 0
                guard oldest <= sequence else { return .failure(Self.tooOld(oldest: oldest)) }
                throw error
            }
        }
    }

    /// Checks that the log still has an entry.
    func require(_ sequence: UInt64) -> Result<Void, DomainError> {
        read { () throws(StoreError) in
            let oldest = try shared.store.readLog(from: 0, limit: 1).first?.sequence ?? 0
            return oldest <= sequence ? .success(()) : .failure(Self.tooOld(oldest: oldest))
        }
    }

    private func read<R>(_ body: () throws(StoreError) -> Result<R, DomainError>) -> Result<R, DomainError> {
        shared.reading(
            orLog: "reading the change log for a watch failed",
            damage: "The change log cannot be read.",
            body
        ).flatMap { $0 }
    }

    static func tooOld(oldest: UInt64) -> DomainError {
        .outOfRange(
            code: WatchRefusal.tooOld,
            message: "The change log begins at sequence \(oldest), behind the cursor: start again with a snapshot.",
            metadata: ["oldest_sequence": String(oldest)]
        )
    }

    static func ahead(_ sequence: UInt64, of latest: UInt64, oldest: UInt64) -> DomainError {
        .outOfRange(
            code: WatchRefusal.ahead,
            message: "The cursor is of sequence \(sequence), and this store ends at \(latest): it was restored from an "
                + "older copy. Its change log begins at \(oldest). Start again with a snapshot.",
            metadata: ["oldest_sequence": String(oldest), "latest_sequence": String(latest)]
        )
    }
}

/// The codes of what refuses or ends a watch.
package enum WatchRefusal {
    /// The log does not reach back to the cursor.
    package static let tooOld = "CURSOR_TOO_OLD"
    /// The cursor is ahead of all there is.
    package static let ahead = "CURSOR_AHEAD"
    /// The cursor is of another store.
    package static let otherStore = "CURSOR_OF_ANOTHER_STORE"
}

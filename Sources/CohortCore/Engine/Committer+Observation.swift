extension Committer {
    /// Tells what became of each row.
    func observe(_ requests: [RowsRequest], _ results: [[Result<PutResult, DomainError>]]) {
        var counts: [EngineObservation.Row: Int] = [:]
        for (request, results) in zip(requests, results) {
            for (row, result) in zip(request.rows, results) {
                let kind: EngineObservation.Row
                switch (row, result) {
                case (_, .failure): kind = .rejected
                case (.erase, .success): kind = .erased
                case (_, .success(let put)):
                    switch put.outcome {
                    case .created: kind = .created
                    case .updated: kind = .updated
                    case .unchanged: kind = .unchanged
                    case .stale: kind = .stale
                    }
                }
                counts[kind, default: 0] += 1
            }
        }
        shared.environment.observed(.rows(counts))
    }
}

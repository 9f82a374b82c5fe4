package import Logging
import Synchronization

/// The least severe levels that loggers write: one for all, and one of its own for any of them. Changed at run time.
package final class LogLevels: Sendable {
    /// The level of one logger, read for every message.
    package final class Cell: Sendable {
        private let rank: Atomic<Int>

        fileprivate init(_ level: Logger.Level) { rank = Atomic(level.rank) }

        package var level: Logger.Level { Logger.Level.allCases[rank.load(ordering: .relaxed)] }
        fileprivate func set(_ level: Logger.Level) { rank.store(level.rank, ordering: .relaxed) }
    }

    /// There is no such logger.
    package struct UnknownLogger: Error { package var known: [String] }

    private struct State {
        var base: Logger.Level
        var own: [String: Logger.Level] = [:]
        var cells: [String: Cell] = [:]
    }

    private let state: Mutex<State>

    package init(_ base: Logger.Level) { state = Mutex(State(base: base)) }

    /// The level of a logger; loggers of one name share it.
    package func cell(of logger: String) -> Cell {
        state.withLock { state in
            if let cell = state.cells[logger] { return cell }
            let cell = Cell(state.own[logger] ?? state.base)
            state.cells[logger] = cell
            return cell
        }
    }

    /// Changes the level of all loggers that have none of their own.
    package func set(_ level: Logger.Level) {
        state.withLock { state in
            state.base = level
            for (name, cell) in state.cells where state.own[name] == nil { cell.set(level) }
        }
    }

    /// Gives a logger a level of its own; nil takes it away.
    package func set(_ level: Logger.Level?, of logger: String) throws(UnknownLogger) {
        let known: [String]? = state.withLock { state in
            guard let cell = state.cells[logger] else { return state.cells.keys.sorted() }
            state.own[logger] = level
            cell.set(level ?? state.base)
            return nil
        }
        if let known { throw UnknownLogger(known: known) }
    }

    /// The one for all, and those of single loggers in order of name.
    package var all: (base: Logger.Level, own: [(logger: String, level: Logger.Level)]) {
        state.withLock { state in
            (state.base, state.own.sorted { $0.key < $1.key }.map { (logger: $0.key, level: $0.value) })
        }
    }
}

extension Logger.Level {
    fileprivate var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

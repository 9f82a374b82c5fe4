/// A small square system of linear equations.
enum LinearSystem {
    /// Solves `matrix · x = right` by elimination with partial pivoting.
    ///
    /// - Returns: Nothing when the matrix is singular.
    static func solve(_ matrix: [[Double]], _ right: [Double]) -> [Double]? {
        var rows = zip(matrix, right).map { $0 + [$1] }
        let count = rows.count
        for column in 0..<count {
            let pivot = (column..<count).max { rows[$0][column].magnitude < rows[$1][column].magnitude } ?? column
            guard rows[pivot][column].magnitude > 1e-300 else { return nil }
            rows.swapAt(column, pivot)
            for row in (column + 1)..<max(count, column + 1) {
                let factor = rows[row][column] / rows[column][column]
                for index in column...count { rows[row][index] -= factor * rows[column][index] }
            }
        }
        var solution = [Double](repeating: 0, count: count)
        for row in (0..<count).reversed() {
            var sum = rows[row][count]
            for column in (row + 1)..<max(count, row + 1) { sum -= rows[row][column] * solution[column] }
            solution[row] = sum / rows[row][row]
        }
        return solution.allSatisfy(\.isFinite) ? solution : nil
    }

    /// - Returns: Nothing when the matrix is singular.
    static func inverse(_ matrix: [[Double]]) -> [[Double]]? {
        var columns: [[Double]] = []
        for index in matrix.indices {
            var unit = [Double](repeating: 0, count: matrix.count)
            unit[index] = 1
            guard let column = solve(matrix, unit) else { return nil }
            columns.append(column)
        }
        return matrix.indices.map { row in columns.map { $0[row] } }
    }
}

/// Minimises a function without its derivatives (Nelder and Mead 1965, with the usual coefficients 1, 2, ½, ½).
enum NelderMead {
    /// - Parameters:
    ///   - start: The first corner of the simplex.
    ///   - step: How far the others are from it, in each direction.
    ///   - evaluations: The most calls of `function`.
    /// - Returns: The best point that was seen.
    static func minimise(
        from start: [Double],
        step: Double,
        evaluations limit: Int,
        tolerance: Double = 1e-6,
        _ function: ([Double]) -> Double
    ) -> [Double] {
        typealias Corner = (point: [Double], value: Double)
        var evaluations = 0
        func corner(_ point: [Double]) -> Corner {
            evaluations += 1
            let value = function(point)
            return (point, value.isNaN ? .infinity : value)
        }
        var simplex: [Corner] = [corner(start)]
        for index in start.indices {
            var point = start
            point[index] += step
            simplex.append(corner(point))
        }
        while evaluations < limit {
            simplex.sort { $0.value < $1.value }
            let (best, worst) = (simplex[0], simplex[simplex.count - 1])
            if abs(worst.value - best.value) <= tolerance * (abs(best.value) + 1e-12) { break }
            let others = simplex.dropLast()
            let centre = start.indices.map { index in
                others.reduce(0) { $0 + $1.point[index] } / Double(others.count)
            }
            func along(_ factor: Double) -> Corner {
                corner(start.indices.map { centre[$0] + factor * (worst.point[$0] - centre[$0]) })
            }
            let reflected = along(-1)
            if reflected.value < best.value {
                let expanded = along(-2)
                simplex[simplex.count - 1] = expanded.value < reflected.value ? expanded : reflected
            } else if reflected.value < simplex[simplex.count - 2].value {
                simplex[simplex.count - 1] = reflected
            } else {
                let contracted = reflected.value < worst.value ? along(-0.5) : along(0.5)
                if contracted.value < min(reflected.value, worst.value) {
                    simplex[simplex.count - 1] = contracted
                } else {
                    for index in 1..<simplex.count {
                        let point = simplex[index].point
                        simplex[index] = corner(start.indices.map { (best.point[$0] + point[$0]) / 2 })
                    }
                }
            }
        }
        return simplex.min { $0.value < $1.value }?.point ?? start
    }
}

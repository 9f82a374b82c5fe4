/// The conclusions in words, for whoever has to decide.
struct CapacitySummary {
    private let result: CapacityResult

    init(_ result: CapacityResult) { self.result = result }

    var text: String {
        ([finding, limiting, operating, target, autoscaling, knee, scalability, littlesLaw] as [String?])
            .compactMap { $0 }
            .joined(separator: "\n")
    }

    private var finding: String {
        let capacity = Format.rate(result.capacityRate ?? 0)
        let most = Format.rate(result.steps.filter(\.isMet).map(\.rateReached).max() ?? 0)
        let least = Format.rate(result.steps.map(\.rateWanted).min() ?? 0)
        return switch result.finding {
        case .found: "Capacity: \(capacity) with \(result.slo), confirmed by a hold."
        case .generatorLimited where result.capacityRate != nil:
            "Capacity: at least \(capacity) with \(result.slo); beyond it the generator was the limit, not the server. "
                + "Run the generator on another machine or on more of them."
        case .generatorLimited:
            "Capacity: not found. The generator could not send \(least). Run it on another machine."
        case .highestPassed: "Capacity: at least \(capacity) with \(result.slo), the highest rate allowed."
        case .nothingPassed: "Capacity: none. \(result.slo) was missed even at \(least)."
        case .notConfirmed: "Capacity: not confirmed. Up to \(most) met \(result.slo), but no rate held."
        }
    }

    private var limiting: String {
        let evidence = result.limiting.evidence.joined(separator: "; ")
        return "Limiting resource: \(result.limiting.words)" + (evidence.isEmpty ? "." : " (\(evidence)).")
    }

    private var operating: String? {
        guard let operating = result.operatingRate, let capacity = result.capacityRate else { return nil }
        let share = operating / capacity
        let reason =
            share < result.headroom - 0.005
            ? "where latency begins to grow out of proportion, before \(Format.percent(result.headroom)) of the capacity"
            : "beyond it short bursts wait long, and when one of four instances fails the others stay within the capacity"
        return "Recommended operating point: \(Format.rate(operating)) an instance, \(Format.percent(share)) of the "
            + "capacity: \(reason)."
    }

    private var target: String? {
        guard let target = result.target, let operating = result.operatingRate else { return nil }
        return "For \(Format.rate(target.rate)): \(target.instances) instances, of which one may fail "
            + "(\(target.instances - 1) carry it at \(Format.rate(operating)) at most)."
    }

    private var autoscaling: String? {
        guard let autoscaling = result.autoscaling else { return nil }
        let cpu = autoscaling.cpuPercent.map { " (\(Format.number($0)) % of its processors)" } ?? ""
        return
            "Autoscaling: add an instance above \(Format.rate(autoscaling.scaleOutRate)) each\(cpu), remove one below "
            + "\(Format.rate(autoscaling.scaleInRate)) each."
    }

    private var knee: String? {
        result.kneeRate.map { "Knee: latency grows out of proportion from about \(Format.rate($0))." }
    }

    private var scalability: String? {
        guard let law = result.scalability else {
            return "Universal Scalability Law: not fitted, the loads were too few or too much alike."
        }
        if let reason = law.poorBecause {
            return "Universal Scalability Law: the fit is poor (\(reason)), so nothing is foretold from it."
        }
        func interval(_ estimate: Estimate) -> String {
            "\(Format.number(estimate.value)) (\(Format.number(estimate.low)) to \(Format.number(estimate.high)))"
        }
        var text =
            "Universal Scalability Law: λ \(interval(law.lambda)) calls/s, σ \(interval(law.sigma)), "
            + "κ \(interval(law.kappa)), each with 95 % confidence; R² \(Format.number(law.rSquared))."
        if let peak = law.peakConcurrency, let rate = law.peakRate, !law.isPeakExtrapolated {
            text += " Throughput peaks at \(Format.rate(rate)) with \(Format.number(peak)) calls in flight."
        } else {
            text += " The peak lies beyond what was measured."
        }
        return text
    }

    private var littlesLaw: String? {
        let wrong = result.steps.filter { !$0.littlesLawHolds }
        guard !wrong.isEmpty else {
            return "Little's law: holds on every step to \(Format.percent(LittlesLaw.tolerance))."
        }
        let rates = wrong.prefix(4).map { Format.rate($0.rateWanted) }.joined(separator: ", ")
        return
            "Little's law: \(wrong.count) of \(result.steps.count) steps are more than \(Format.percent(LittlesLaw.tolerance)) off "
            + "(\(rates)\(wrong.count > 4 ? ", …" : "")): they were not steady, or something was measured wrongly."
    }
}

import RPC
import Testing

@testable import cohort_loadtest

@Suite("Scenario files")
struct ScenarioFileTests {
    private func read(_ text: String) throws -> Scenario {
        var usual = Scenario(rate: 0, duration: 0, population: try Population(customers: 10, idBytes: 36))
        usual.profile = RateProfile()
        return try ScenarioFile.read(text, file: "s.yaml", usual: usual)
    }

    @Test("Everything that a file may say")
    func whole() throws {
        let scenario = try read(
            """
            name: shop
            customers: 5000
            id_bytes: 15
            cohorts: [PREMIUM, VIP]
            keys: zipf:0.99
            arrivals: constant
            connections: 4
            watches: 3
            warmup: 500ms
            seed: 9
            mix:
              - {method: CheckMembership, weight: 9, deadline: 50ms, criticality: SHEDDABLE}
              - {method: BatchPutCustomers, size: 20}
            stages:
              - constant: {rate: 10, for: 2s}
              - soak: {rate: 20, for: 1m}
              - ramp: {from: 10, to: 20, for: 3}
              - step: {from: 10, to: 30, steps: 3, for: 3s}
              - spike: {base: 1, peak: 9, for: 3s}
              - diurnal: {low: 1, high: 3, period: 24s, for: 24s}
            """
        )
        #expect(scenario.name == "shop" && scenario.population.customers == 5_000 && scenario.population.idBytes == 15)
        #expect(scenario.cohorts == ["PREMIUM", "VIP"] && scenario.keys == .zipf(exponent: 0.99))
        #expect(scenario.arrivals == .constant && scenario.connections == 4 && scenario.watches == 3)
        #expect(scenario.warmup == 0.5 && scenario.seed == 9)
        #expect(
            scenario.mix == [
                MixEntry(.checkMembership, weight: 9, deadline: .milliseconds(50), criticality: .sheddable),
                MixEntry(.batchPutCustomers, size: 20),
            ]
        )
        #expect(abs(scenario.profile.duration - 95) < 1e-9)
    }

    @Test(
        "What is wrong is named with its line, and what would be right",
        arguments: [
            (
                "mix:\n  - {method: CheckMembershp}",
                "s.yaml:2: 'method' of a part of 'mix' is 'CheckMembershp'; it takes Check"
            ),
            ("mix:\n  - {weight: 3}", "s.yaml:2: a part of 'mix' needs 'method'"),
            ("mix:\n  - {method: GetCustomer, weight: 0}", "'weight' of a part of 'mix' takes a number over 0"),
            ("mix:\n  - {method: GetCustomer, size: 5}", "'size' of a part of 'mix' is not for GetCustomer"),
            ("mix:\n  - {method: BatchPutCustomers, size: 1001}", "is '1001'; it takes 1 to 1000"),
            ("mix:\n  - {method: GetCustomer, deadline: soon}", "is 'soon'; it takes a time as 250us"),
            ("mix: []", "'mix' of the scenario takes a list of at least one"),
            ("rate: 3", "s.yaml:1: the scenario has no 'rate'; it takes name, customers"),
            ("name: a\nstages:\n  - wave: {for: 3s}", "s.yaml:3: a stage has no 'wave'; it takes constant"),
            ("stages:\n  - ramp: {from: 1, for: 3s}", "'ramp' needs 'to', calls a second"),
            ("stages:\n  - constant: {rate: 5}", "'constant' needs 'for', as 30s"),
            ("stages:\n  - constant: {rate: -5, for: 1s}", "takes 0 to 10000000 calls a second"),
            ("stages:\n  - step: {from: 1, to: 2, for: 1s}", "'step' needs 'steps'"),
            ("keys: zipf", "'keys' of the scenario takes uniform, zipf:EXPONENT"),
            ("arrivals: bursty", "takes constant or poisson"), ("connections: 0", "is '0'; it takes 1 to 10000"),
            ("id_bytes: 20", "takes 15 (C and digits) or 36 (a UUID)"), ("- a", "the scenario takes members"),
            ("a: [", "s.yaml"), ("", "s.yaml is empty"),
        ]
    )
    func wrong(text: String, problem: String) {
        let error = #expect(throws: ScenarioError.self) { try read(text) }
        #expect(error?.description.contains(problem) == true, "\(error?.description ?? "")")
    }

    @Test("Times as people write them")
    func times() {
        let pairs: [(String, Double?)] = [
            ("250us", 0.000_25), ("5ms", 0.005), ("30s", 30), ("10m", 600), ("2h", 7_200), ("1.5", 1.5), ("0s", 0),
            ("-1s", nil), ("s", nil), ("1d", nil), ("inf", nil), ("", nil),
        ]
        for (text, seconds) in pairs { #expect(DurationText.seconds(text) == seconds, "\(text)") }
    }
}

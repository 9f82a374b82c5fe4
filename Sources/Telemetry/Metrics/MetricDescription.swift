/// What a metric tells, for those who read it.
package struct MetricDescription: Sendable, Hashable {
    package var name: String
    /// In UCUM: `s`, `By`, `1` or a thing in braces, as `{call}`.
    package var unit: String
    package var text: String

    package init(_ name: String, _ unit: String, _ text: String) {
        self.name = name
        self.unit = unit
        self.text = text
    }
}

import Foundation

/// A plot drawn as SVG, in the colours of the page around it. Shows gaps where values are missing; says so when there is
/// nothing to draw. Columns over the plot carry the values at their place as tooltips.
struct Chart: Sendable {
    struct Point: Sendable {
        var x: Double
        /// Nothing for a gap.
        var y: Double?
    }

    enum Style: Sendable {
        case line
        case dashed
        case points
        /// As points, for what is told apart from them by more than its colour.
        case crosses
        /// Between each point and the one of the same index in `upper`.
        case band(upper: [Point])
        case bars
    }

    struct Series: Sendable {
        var name: String
        var points: [Point]
        var style = Style.line
        /// Which of the page's eight colours, from 1.
        var colour: Int
    }

    /// A line across the plot with its name.
    struct Mark: Sendable {
        enum Place: Sendable { case x(Double), y(Double) }

        var name: String
        var place: Place
        var colour: Int
    }

    var title: String
    /// What the plot says, for those who do not see it.
    var text: String
    var x: Axis
    var y: Axis
    var series: [Series]
    var marks: [Mark] = []

    private static let (width, height) = (560.0, 320.0)
    private static let (left, right, top, bottom) = (88.0, 16.0, 14.0, 46.0)
    private static let plotWidth = width - left - right
    private static let plotHeight = height - top - bottom
    /// More points than pixels only make the file bigger.
    private static let mostPoints = 1_200

    /// A figure with its heading, plot and legend.
    var html: String {
        """
        <figure class="chart"><figcaption><h3>\(HTML.escape(title))</h3></figcaption>
        \(svg)
        \(legend)</figure>

        """
    }

    private var legend: String {
        guard series.count > 1 else { return "" }
        let items = series.map { series in
            let kind =
                switch series.style {
                case .dashed: "dashed"
                case .points: "dot"
                case .crosses: "cross"
                case .band: "area"
                default: "solid"
                }
            return "<li><span class=\"key \(kind) c\(series.colour)\"></span>\(HTML.escape(series.name))</li>"
        }
        return "<ul class=\"legend\">\(items.joined())</ul>\n"
    }

    var svg: String {
        let all = series.flatMap { series -> [Point] in
            if case .band(let upper) = series.style { return series.points + upper }
            return series.points
        }
        let marksX = marks.compactMap { mark in if case .x(let value) = mark.place { value } else { nil } }
        let marksY = marks.compactMap { mark in if case .y(let value) = mark.place { value } else { nil } }
        let x = x.fitted(all.map(\.x) + marksX)
        let y = y.fitted(all.compactMap(\.y) + marksY)
        var parts = [
            "<svg viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" class=\"plot\">",
            "<title>\(HTML.escape(title))</title><desc>\(HTML.escape(text))</desc>",
        ]
        parts.append(axes(x, y))
        if all.contains(where: { $0.y != nil }) {
            parts += series.map { draw($0, x, y) }
            parts += marks.enumerated().map { draw($1, index: $0, x, y) }
            parts.append(tooltips(x))
        } else {
            parts.append(
                "<text class=\"none\" x=\"\(Self.number(Self.left + Self.plotWidth / 2))\" y=\"\(Self.number(Self.height / 2))\""
                    + " text-anchor=\"middle\">no values</text>"
            )
        }
        parts.append("</svg>")
        return parts.joined(separator: "\n")
    }

    // Places on the plot.

    private static func number(_ value: Double) -> String {
        let tenths = (value * 10).rounded() / 10
        return tenths == tenths.rounded() ? "\(Int(tenths))" : "\(tenths)"
    }

    private func place(_ point: Point, _ x: Axis.Fitted, _ y: Axis.Fitted) -> (x: Double, y: Double)? {
        guard let value = point.y, let across = x.position(point.x), let up = y.position(value) else { return nil }
        guard across >= -0.001, across <= 1.001 else { return nil }
        return (
            Self.left + Self.plotWidth * across, Self.top + Self.plotHeight * (1 - min(max(up, 0), 1.02))
        )
    }

    private func axes(_ x: Axis.Fitted, _ y: Axis.Fitted) -> String {
        var parts: [String] = []
        let (right, bottom) = (Self.left + Self.plotWidth, Self.top + Self.plotHeight)
        for tick in y.ticks(6) {
            guard let up = y.position(tick.value), up >= -0.001, up <= 1.001 else { continue }
            let at = Self.number(bottom - Self.plotHeight * up)
            parts.append(
                "<line class=\"grid\" x1=\"\(Self.number(Self.left))\" x2=\"\(Self.number(right))\" y1=\"\(at)\" y2=\"\(at)\"/>"
            )
            parts.append(
                "<text class=\"tick\" x=\"\(Self.number(Self.left - 7))\" y=\"\(at)\" dy=\"0.32em\" text-anchor=\"end\">"
                    + "\(HTML.escape(tick.label))</text>"
            )
        }
        for tick in x.ticks(7) {
            guard let across = x.position(tick.value), across >= -0.001, across <= 1.001 else { continue }
            let at = Self.number(Self.left + Self.plotWidth * across)
            parts.append(
                "<line class=\"grid\" x1=\"\(at)\" x2=\"\(at)\" y1=\"\(Self.number(Self.top))\" y2=\"\(Self.number(bottom))\"/>"
            )
            let anchor = across > 0.97 ? "end" : "middle"
            parts.append(
                "<text class=\"tick\" x=\"\(at)\" y=\"\(Self.number(bottom + 16))\" text-anchor=\"\(anchor)\">"
                    + "\(HTML.escape(tick.label))</text>"
            )
        }
        parts.append(
            "<line class=\"axis\" x1=\"\(Self.number(Self.left))\" x2=\"\(Self.number(right))\" y1=\"\(Self.number(bottom))\" y2=\"\(Self.number(bottom))\"/>"
        )
        parts.append(
            "<text class=\"label\" x=\"\(Self.number((Self.left + right) / 2))\" y=\"\(Self.number(Self.height - 8))\""
                + " text-anchor=\"middle\">\(HTML.escape(self.x.title))</text>"
        )
        let middle = Self.number((Self.top + bottom) / 2)
        parts.append(
            "<text class=\"label\" transform=\"translate(14 \(middle)) rotate(-90)\" text-anchor=\"middle\">"
                + "\(HTML.escape(self.y.title))</text>"
        )
        return parts.joined(separator: "\n")
    }

    private func draw(_ series: Series, _ x: Axis.Fitted, _ y: Axis.Fitted) -> String {
        let name = "<title>\(HTML.escape(series.name))</title>"
        switch series.style {
        case .line, .dashed:
            var (path, isDown) = ("", false)
            for point in Self.thinned(series.points) {
                guard let at = place(point, x, y) else {
                    isDown = false
                    continue
                }
                path += "\(isDown ? "L" : "M")\(Self.number(at.x)) \(Self.number(at.y))"
                isDown = true
            }
            var kind = "line"
            if case .dashed = series.style { kind += " dashed" }
            // A single value is no line, but has to be seen.
            let dots =
                series.points.count { $0.y != nil } == 1
                ? draw(Series(name: series.name, points: series.points, style: .points, colour: series.colour), x, y)
                : ""
            return "<path class=\"\(kind) s\(series.colour)\" d=\"\(path)\">\(name)</path>" + dots
        case .points:
            return series.points.compactMap { point in
                place(point, x, y).map {
                    "<circle class=\"point f\(series.colour)\" cx=\"\(Self.number($0.x))\" cy=\"\(Self.number($0.y))\" r=\"3.5\">\(name)</circle>"
                }
            }.joined()
        case .crosses:
            let paths = series.points.compactMap { point in
                place(point, x, y).map { "M\(Self.number($0.x - 3.5)) \(Self.number($0.y - 3.5))l7 7m0-7l-7 7" }
            }
            return paths.isEmpty
                ? "" : "<path class=\"line s\(series.colour)\" d=\"\(paths.joined())\">\(name)</path>"
        case .band(let upper):
            let low = series.points.compactMap { place($0, x, y) }
            let high = upper.compactMap { place($0, x, y) }
            let path = (low + high.reversed()).map { "\(Self.number($0.x)) \(Self.number($0.y))" }.joined(
                separator: "L"
            )
            return path.isEmpty ? "" : "<path class=\"band f\(series.colour)\" d=\"M\(path)Z\">\(name)</path>"
        case .bars:
            let width = max(1, Self.plotWidth / Double(max(series.points.count, 1)) - 1)
            let bottom = Self.top + Self.plotHeight
            return series.points.compactMap { point in
                place(point, x, y).map { at in
                    "<rect class=\"bar f\(series.colour)\" x=\"\(Self.number(at.x - width / 2))\" y=\"\(Self.number(at.y))\""
                        + " width=\"\(Self.number(width))\" height=\"\(Self.number(max(0, bottom - at.y)))\">\(name)</rect>"
                }
            }.joined()
        }
    }

    private func draw(_ mark: Mark, index: Int, _ x: Axis.Fitted, _ y: Axis.Fitted) -> String {
        let (right, bottom) = (Self.left + Self.plotWidth, Self.top + Self.plotHeight)
        let name = HTML.escape(mark.name)
        switch mark.place {
        case .y(let value):
            guard let up = y.position(value), (0...1).contains(up) else { return "" }
            let at = bottom - Self.plotHeight * up
            return "<line class=\"mark s\(mark.colour)\" x1=\"\(Self.number(Self.left))\" x2=\"\(Self.number(right))\" "
                + "y1=\"\(Self.number(at))\" y2=\"\(Self.number(at))\"/>"
                + "<text class=\"name f\(mark.colour)\" x=\"\(Self.number(Self.left + 6))\" y=\"\(Self.number(at - 4))\">\(name)</text>"
        case .x(let value):
            guard let across = x.position(value), (0...1).contains(across) else { return "" }
            let at = Self.left + Self.plotWidth * across
            // Names of neighbouring marks lie below each other.
            let line = Self.top + 12 + 14 * Double(index)
            let isRight = across > 0.6
            return "<line class=\"mark s\(mark.colour)\" x1=\"\(Self.number(at))\" x2=\"\(Self.number(at))\" "
                + "y1=\"\(Self.number(Self.top))\" y2=\"\(Self.number(bottom))\"/>"
                + "<text class=\"name f\(mark.colour)\" x=\"\(Self.number(at + (isRight ? -5 : 5)))\" y=\"\(Self.number(line))\" "
                + "text-anchor=\"\(isRight ? "end" : "start")\">\(name)</text>"
        }
    }

    /// Columns that cannot be seen, with the values of all series at their place.
    private func tooltips(_ x: Axis.Fitted) -> String {
        var columns: [Double: [String]] = [:]
        for series in series {
            let upper: [Point] = if case .band(let upper) = series.style { upper } else { [] }
            for (index, point) in Self.thinned(series.points, most: 120).enumerated() {
                guard let value = point.y else { continue }
                var text = "\(series.name): \(y.format(value))"
                if upper.count == series.points.count, upper.count <= 120, let high = upper[index].y {
                    text += " to \(y.format(high))"
                }
                columns[point.x, default: []].append(text)
            }
        }
        let sorted = columns.sorted { $0.key < $1.key }
        let places = sorted.map { (x.position($0.key) ?? 0) * Self.plotWidth + Self.left }
        return sorted.indices.map { index in
            let from = index == 0 ? places[0] - 8 : (places[index - 1] + places[index]) / 2
            let to = index == places.count - 1 ? places[index] + 8 : (places[index] + places[index + 1]) / 2
            let text = ([self.x.format(sorted[index].key)] + sorted[index].value).joined(separator: "\n")
            return "<rect class=\"hover\" x=\"\(Self.number(from))\" y=\"\(Self.number(Self.top))\" "
                + "width=\"\(Self.number(max(0, to - from)))\" height=\"\(Self.number(Self.plotHeight))\">"
                + "<title>\(HTML.escape(text))</title></rect>"
        }.joined()
    }

    /// The highest of each few neighbours, so that peaks stay.
    private static func thinned(_ points: [Point], most: Int = mostPoints) -> [Point] {
        guard points.count > most else { return points }
        let size = (points.count + most - 1) / most
        return stride(from: 0, to: points.count, by: size).compactMap { begin in
            points[begin..<min(begin + size, points.count)].max { ($0.y ?? -.infinity) < ($1.y ?? -.infinity) }
        }
    }
}

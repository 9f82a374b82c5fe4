/// The server's own figures over the time of a run, with the client's beside them where they tell the same.
struct ServerCharts {
    let result: LoadResult
    let time: Axis

    /// What is drawn in one plot.
    private struct Plot {
        var title: String
        var text: String
        /// What the figures are multiplied with.
        var scale = 1.0
        var y: Axis
        /// Names of series, and what each is called in the plot.
        var series: [(name: String, label: String)]
    }

    private static let milliseconds: @Sendable (Double) -> String = { Format.milliseconds($0) }

    private static let plots: [Plot] = [
        Plot(
            title: "Processors in use",
            text: "Processor time of the server for each second, of those that it has.",
            y: Axis(title: "processors"),
            series: [(LimitingResource.SeriesName.cpu, "in use")]
        ),
        Plot(
            title: "Event loops: how late, p99",
            text: "How much later than asked the server's event loops run what is due.",
            scale: 1_000,
            y: Axis(title: "time", format: milliseconds),
            series: [(LimitingResource.SeriesName.eventLoopLag, "lag p99")]
        ),
        Plot(
            title: "Calls that the server answered",
            text: "As the server counted them in each second.",
            y: Axis(title: "calls a second"),
            series: [("rpc.server.call.duration rate", "calls")]
        ),
        Plot(
            title: "Calls in the server, and its limit",
            text: "Calls that the server works on, those that count against its limit, and the limit.",
            y: Axis(title: "calls"),
            series: [
                ("rpc.server.calls.running", "running"), ("rpc.server.overload.in_flight", "counted"),
                ("rpc.server.overload.limit", "limit"),
            ]
        ),
        Plot(
            title: "Calls refused by the server's limits",
            text: "In each second.",
            y: Axis(title: "calls a second"),
            series: [("rpc.server.overload.rejected rate", "refused")]
        ),
        Plot(
            title: "Duration of a commit",
            text: "How long the server took to write a batch of changes to its store.",
            scale: 1_000,
            y: Axis(title: "time", format: milliseconds),
            series: [(LimitingResource.SeriesName.commitMean, "mean"), ("cohort.commit.duration p99", "p99")]
        ),
        Plot(
            title: "Commits and rows written",
            text: "In each second.",
            y: Axis(title: "a second"),
            series: [(LimitingResource.SeriesName.commitRate, "commits"), ("cohort.ingest.rows rate", "rows")]
        ),
        Plot(
            title: "Rows that wait for a commit, and their limit",
            text: "Beyond the limit writes are refused.",
            y: Axis(title: "rows"),
            series: [(LimitingResource.SeriesName.queue, "waiting"), (LimitingResource.SeriesName.queueLimit, "limit")]
        ),
        Plot(
            title: "Memory of the server",
            text: "Resident, in MiB.",
            scale: 1 / 1_048_576,
            y: Axis(title: "MiB"),
            series: [("process.memory.usage", "resident")]
        ),
    ]
    private static let durationP99 = "rpc.server.call.duration p99"

    /// Nothing when the server was not asked.
    var charts: [Chart] {
        guard let server = result.server, !server.series.isEmpty else { return [] }
        let byName = Dictionary(server.series.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let known = Set(Self.plots.flatMap { $0.series.map(\.name) } + [Self.durationP99])
        let others = server.series.filter { !known.contains($0.name) }.map { series in
            let plot = Plot(
                title: series.name,
                text: "As the server reported it.",
                scale: series.unit == "s" ? 1_000 : 1,
                y: series.unit == "s" ? Axis(title: "time", format: Self.milliseconds) : Axis(title: series.unit),
                series: [(series.name, series.name)]
            )
            return chart(plot, byName)
        }
        return [latency(byName[Self.durationP99])] + Self.plots.compactMap { chart($0, byName) }
            + others.compactMap { $0 }
    }

    /// What is between the two is the way there and back, and waiting on both ends of it.
    private func latency(_ server: LoadResult.Series?) -> Chart {
        let seen = result.middles.map { at, interval in
            Chart.Point(x: at, y: interval.latency.count > 0 ? interval.latency.p99 : nil)
        }
        var series = [Chart.Series(name: "seen by the client", points: seen, colour: 1)]
        if let server {
            let points = server.points.map { Chart.Point(x: $0.at, y: $0.value * 1_000) }
            series.append(
                Chart.Series(name: "measured by the server, up to its buckets' bounds", points: points, colour: 8)
            )
        }
        return Chart(
            title: "p99 at both ends",
            text: "The p99 of each second as the client saw it and as the server measured it, without the network.",
            x: time,
            y: Axis(title: "latency", scale: .log, format: Self.milliseconds),
            series: series
        )
    }

    private func chart(_ plot: Plot, _ byName: [String: LoadResult.Series]) -> Chart? {
        let colours = [8, 2, 6]
        let series = plot.series.enumerated().compactMap { index, named in
            byName[named.name].map { series in
                Chart.Series(
                    name: named.label,
                    points: series.points.map { Chart.Point(x: $0.at, y: $0.value * plot.scale) },
                    style: named.label == "limit" ? .dashed : .line,
                    colour: colours[index % colours.count]
                )
            }
        }
        guard !series.isEmpty else { return nil }
        return Chart(title: plot.title, text: plot.text, x: time, y: plot.y, series: series)
    }
}

"use strict";
// Formats, scales, and the two kinds of charts. Text reaches the page through textContent alone.

const SVG = "http://www.w3.org/2000/svg";
const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const byId = (id) => document.getElementById(id);
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// MARK: Figures

const nothing = "–";
const three = (x) => (Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(2))
  .replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
function scaled(x, base, units) {
  let at = 0;
  while (at < units.length - 1 && Math.abs(x) >= base * 0.9995) { x /= base; at += 1; }
  return [three(x), units[at]];
}
const known = (x) => x !== null && x !== undefined && Number.isFinite(x);
const formats = {
  count: (x) => (known(x) ? scaled(x, 1000, ["", "k", "M", "G", "T"]) : [nothing, ""]),
  rate: (x) => (known(x) ? ((v) => [v[0], v[1] + "/s"])(formats.count(x)) : [nothing, ""]),
  bytes: (x) => (known(x) ? scaled(x, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]) : [nothing, ""]),
  percent: (x) => (known(x) ? [three(x * 100), "%"] : [nothing, ""]),
  seconds: (x) => !known(x) ? [nothing, ""] : x === 0 ? ["0", "s"]
    : x < 0.9995e-3 ? [three(x * 1e6), "µs"] : x < 0.9995 ? [three(x * 1e3), "ms"] : [three(x), "s"],
  cores: (x) => (known(x) ? [three(x), ""] : [nothing, ""]),
};
const text = (format, x) => {
  const [value, unit] = formats[format](x);
  return unit === "" ? value : /^[kMGT]?(\/s)?$/.test(unit) ? value + unit : `${value} ${unit}`;
};
const whole = (x) => Math.round(x).toLocaleString("en").replaceAll(",", "\u202f");
const clock = (t, seconds = true) => new Date(t).toLocaleTimeString([], {
  hour: "2-digit", minute: "2-digit", hour12: false, ...(seconds ? { second: "2-digit" } : {}),
});
function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

// MARK: Scales

/// Bounds and ticks of an axis for values up to `most`: `linear`, `logarithmic`, or `counts`, which is logarithmic with a 0.
function axis(kind, least, most, { base = 1000, cap = Infinity } = {}) {
  if (kind === "logarithmic") {
    const low = Math.floor(Math.log10(Math.max(least, 1e-6)) + 1e-9);
    const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(most, 1e-6)) - 1e-9));
    const ticks = [];
    for (let power = low; power <= high; power += Math.ceil((high - low) / 5)) ticks.push(10 ** power);
    return { ticks, place: (v) => (Math.log10(Math.max(v, 10 ** low)) - low) / (high - low) };
  }
  if (kind === "counts") {
    const high = Math.max(1, Math.ceil(Math.log10(most + 1) - 1e-9));
    const ticks = [0];
    for (let power = 0; power <= high; power += Math.ceil(high / 4)) ticks.push(10 ** power);
    return { ticks, place: (v) => Math.log10(v + 1) / Math.log10(10 ** high + 1) };
  }
  const unit = base ** Math.max(0, Math.floor(Math.log(most || 1) / Math.log(base)));
  const raw = (most || 1) / unit / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((x) => x * power >= raw) * power * unit;
  // A line that would lie on the upper edge gets one step more.
  const top = Math.min(cap, Math.ceil(((most || 1) * 1.03) / step) * step);
  const ticks = [];
  for (let tick = 0; tick <= top * 1.0001; tick += step) ticks.push(tick);
  return { ticks, place: (v) => v / top };
}

function timeTicks(from, to, width) {
  const steps = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].map((s) => s * 1000);
  const step = steps.find((s) => ((to - from) / s) * 74 <= width) ?? steps.at(-1);
  const ticks = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) ticks.push(t);
  return { ticks, seconds: step < 60000 };
}

// MARK: Charts

const frame = { left: 56, right: 10, top: 6, bottom: 20 };

/// What lines and heat maps share: the card, the axes, the pointer and the keys.
class Plot {
  constructor({ id, title, note }, pointed) {
    this.title = title;
    this.when = el("span", { class: "when" });
    this.legend = el("ul", { class: "legend" });
    this.drawing = svg("svg", { "aria-hidden": "true" });
    this.plot = el("div", { class: "plot", role: "img", tabindex: "0", id: `plot-${id}` }, this.drawing);
    const top = el("div", { class: "top" }, el("h2"), this.when);
    top.firstChild.textContent = title;
    this.card = el("article", { class: "card chart", id: `chart-${id}` }, top, this.legend, this.plot);
    if (note) {
      this.card.append(el("p", { class: "note" }));
      this.card.lastChild.textContent = note;
    }
    this.pointed = pointed;
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerdown", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => pointed(null));
    this.plot.addEventListener("blur", () => pointed(null));
    this.plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Escape") pointed(null);
      if (step === undefined || !this.samples?.length) return;
      event.preventDefault();
      const last = this.samples.length - 1;
      const at = this.hovered ? this.samples.indexOf(this.hovered) : last + (step < 0 ? 1 : 0);
      pointed(this.samples[Math.min(last, Math.max(0, at + step))], null);
    });
  }

  get width() { return Math.max(160, this.plot.clientWidth); }
  get height() { return this.plot.clientHeight || 170; }
  x(t) { return frame.left + ((t - this.from) / (this.to - this.from)) * (this.width - frame.left - frame.right); }
  y(part) { return this.height - frame.bottom - part * (this.height - frame.top - frame.bottom); }

  point(event) {
    if (!this.samples?.length) return;
    const box = this.plot.getBoundingClientRect();
    const t = this.from + ((event.clientX - box.left - frame.left) / (this.width - frame.left - frame.right)) * (this.to - this.from);
    let best = this.samples[0];
    for (const sample of this.samples) if (Math.abs(sample.t - t) < Math.abs(best.t - t)) best = sample;
    const part = (this.height - frame.bottom - (event.clientY - box.top)) / (this.height - frame.top - frame.bottom);
    this.pointed(best, this, part);
  }

  /// Axes, and a band wherever the server gave no answer.
  base(scale, label, interval) {
    const parts = [];
    for (const tick of scale.ticks) {
      const y = this.y(scale.place(tick));
      if (y < frame.top - 1) continue;
      parts.push(svg("line", { class: "rule", x1: frame.left, x2: this.width - frame.right, y1: y, y2: y }));
      parts.push(svg("text", { x: frame.left - 7, y: y + 4, "text-anchor": "end" }, label(tick)));
    }
    const times = timeTicks(this.from, this.to, this.width - frame.left);
    for (const t of times.ticks) {
      const x = this.x(t);
      if (x < frame.left + 14 || x > this.width - 24) continue;
      parts.push(svg("text", { x, y: this.height - 5, "text-anchor": "middle" }, clock(t, times.seconds)));
    }
    let begin = null;
    const band = (until) => {
      if (begin === null) return;
      const x = Math.max(frame.left, this.x(begin));
      parts.push(svg("rect", { class: "down", x, y: frame.top, width: Math.max(1, this.x(until) - x), height: this.height - frame.top - frame.bottom }));
      begin = null;
    };
    for (const sample of this.samples) {
      if (!sample.up) begin ??= sample.t - interval * 1000;
      else band(sample.t);
    }
    band(this.to);
    this.cross = svg("line", { class: "cross", y1: frame.top, y2: this.height - frame.bottom, visibility: "hidden" });
    this.drawing.replaceChildren(...parts, this.cross);
  }

  show(sample) {
    this.hovered = sample;
    this.when.textContent = sample ? clock(sample.t) : "";
    if (!this.cross) return;
    this.cross.setAttribute("visibility", sample ? "visible" : "hidden");
    if (sample) for (const end of ["x1", "x2"]) this.cross.setAttribute(end, this.x(sample.t));
  }
}

/// Lines over time. A series is `{name, color, value(sample), dash, area}`.
class LineChart extends Plot {
  constructor(options, pointed) {
    super(options, pointed);
    Object.assign(this, { scale: "linear" }, options);
    for (const series of this.series) {
      const mark = svg("svg", { viewBox: "0 0 18 8", "aria-hidden": "true" }, svg("path", { class: "line", d: "M0 4H18" }));
      this.stroke(mark.firstChild, series);
      series.label = el("b");
      const name = el("span");
      name.textContent = series.name;
      this.legend.append(el("li", {}, mark, name, series.label));
    }
  }

  stroke(path, series) {
    path.style.stroke = `var(${series.color})`;
    if (series.dash) path.style.strokeDasharray = series.dash;
  }

  draw(samples, from, to, interval) {
    Object.assign(this, { samples, from, to });
    let [least, most] = [Infinity, 0];
    for (const series of this.series) {
      for (const sample of samples) {
        const value = series.value(sample);
        if (!known(value) || (this.scale === "logarithmic" && value <= 0)) continue;
        most = Math.max(most, value);
        least = Math.min(least, value);
      }
    }
    if (most === 0) [least, most] = this.empty ?? [0, 1];
    const scale = axis(this.scale, least, most, { base: this.format === "bytes" ? 1024 : 1000, cap: this.cap });
    this.base(scale, (tick) => text(this.format, tick), interval);
    for (const series of this.series) {
      const runs = this.runs(samples, series, scale);
      if (series.area) {
        const bottom = this.y(0);
        const d = runs.map((r) => `M${r[0][0]} ${bottom}L${r.map((p) => p.join(" ")).join("L")}L${r.at(-1)[0]} ${bottom}Z`).join("");
        const path = svg("path", { d });
        path.style.fill = `var(${series.color})`;
        path.style.opacity = ".13";
        this.drawing.insertBefore(path, this.cross);
      }
      const d = runs.map((r) => `M${r.map((p) => p.join(" ")).join("L")}${r.length === 1 ? "h.01" : ""}`).join("");
      const path = svg("path", { class: "line series", d });
      this.stroke(path, series);
      this.drawing.insertBefore(path, this.cross);
    }
    this.show(this.hovered && samples.includes(this.hovered) ? this.hovered : null);
  }

  /// Points of a series, apart wherever there is no value.
  runs(samples, series, scale) {
    const runs = [];
    let last = NaN;
    for (const sample of samples) {
      const value = series.value(sample);
      if (!known(value) || (this.scale === "logarithmic" && value <= 0)) continue;
      if (sample.n !== last + 1) runs.push([]);
      runs.at(-1).push([this.x(sample.t).toFixed(1), this.y(scale.place(value)).toFixed(1)]);
      last = sample.n;
    }
    return runs;
  }

  show(sample) {
    super.show(sample);
    const shown = sample ?? this.samples?.at(-1);
    if (!shown) return;
    for (const series of this.series) series.label.textContent = text(this.format, series.value(shown));
    const spoken = this.series.map((s) => `${s.name} ${text(this.format, s.value(shown))}`).join(", ");
    this.plot.setAttribute("aria-label", `${this.title} at ${clock(shown.t)}: ${spoken}. Arrow keys go through time.`);
  }
}

/// How many calls took how long, over time: one column for each sample, one row for each bucket.
class HeatMap extends Plot {
  constructor(options, pointed) {
    super(options, pointed);
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.plot.prepend(this.canvas);
    this.what = el("b");
    this.ramp = el("span", { class: "ramp", "aria-hidden": "true" });
    this.legend.append(el("li", {}, "few", this.ramp, "many calls"), el("li", {}, this.what));
  }

  draw(samples, from, to, interval, bounds) {
    Object.assign(this, { samples, from, to, bounds });
    let [first, last, most] = [Infinity, -1, 1];
    for (const sample of samples) {
      (sample.buckets ?? []).forEach((count, row) => {
        if (count === 0) return;
        [first, last, most] = [Math.min(first, row), Math.max(last, row), Math.max(most, count)];
      });
    }
    // Whole decades: three rows each, the first row being what is below all bounds.
    this.first = last < 0 ? 0 : Math.max(0, Math.floor((first - 1) / 3) * 3 + 1 - (first === 0 ? 1 : 0));
    this.end = Math.min(bounds.length + 1, last < 0 ? 13 : Math.max(this.first + 6, Math.ceil(last / 3) * 3 + 1));
    const rows = this.end - this.first;
    const ticks = bounds.map((bound, index) => [bound, index + 1 - this.first])
      .filter(([bound, at]) => at >= 0 && at <= rows && Math.abs(Math.log10(bound) - Math.round(Math.log10(bound))) < 1e-6);
    this.base({ ticks, place: ([, at]) => at / rows }, ([bound]) => text("seconds", bound), interval);

    const [width, height] = [this.width - frame.left - frame.right, this.height - frame.top - frame.bottom];
    const density = window.devicePixelRatio || 1;
    Object.assign(this.canvas.style, { left: `${frame.left}px`, top: `${frame.top}px`, width: `${width}px`, height: `${height}px` });
    [this.canvas.width, this.canvas.height] = [Math.round(width * density), Math.round(height * density)];
    const context = this.canvas.getContext("2d");
    const color = token("--a");
    context.fillStyle = color;
    const row = this.canvas.height / rows;
    const column = (t) => Math.round(((t - from) / (to - from)) * this.canvas.width);
    samples.forEach((sample, index) => {
      const begin = column(Math.max(from, samples[index - 1]?.t ?? sample.t - interval * 1000));
      const wide = Math.max(1, column(sample.t) - begin);
      (sample.buckets ?? []).forEach((count, bucket) => {
        if (count === 0 || bucket < this.first || bucket >= this.end) return;
        context.globalAlpha = 0.1 + 0.9 * (Math.log1p(count) / Math.log1p(most));
        const top = Math.round(this.canvas.height - (bucket - this.first + 1) * row);
        context.fillRect(begin, top, wide, Math.max(1, Math.round(this.canvas.height - (bucket - this.first) * row) - top));
      });
    });
    this.ramp.style.background = `linear-gradient(90deg, color-mix(in srgb, ${color} 10%, transparent), ${color})`;
    this.canvas.dataset.most = most;
    this.show(this.hovered && samples.includes(this.hovered) ? this.hovered : null, this.part);
  }

  show(sample, part) {
    super.show(sample);
    this.part = part;
    const shown = sample ?? this.samples?.findLast((s) => s.buckets);
    const buckets = shown?.buckets;
    const fullest = buckets ? buckets.indexOf(Math.max(...buckets)) : -1;
    const pointed = known(part) && part >= 0 && part < 1 && sample;
    const bucket = pointed ? this.first + Math.floor(part * (this.end - this.first)) : fullest;
    if (!buckets || bucket < 0 || Math.max(...buckets) === 0) this.what.textContent = "";
    else this.what.textContent = `${pointed ? "" : "mostly "}${this.range(bucket)}: ${text("count", buckets[bucket] ?? 0)} calls`;
    this.plot.setAttribute("aria-label", `${this.title}${shown ? ` at ${clock(shown.t)}` : ""}: ${this.what.textContent}. Arrow keys go through time.`);
  }

  range(bucket) {
    const [low, high] = [this.bounds[bucket - 1], this.bounds[bucket]];
    if (low === undefined) return `up to ${text("seconds", high)}`;
    return high === undefined ? `over ${text("seconds", low)}` : `${text("seconds", low)} to ${text("seconds", high)}`;
  }
}

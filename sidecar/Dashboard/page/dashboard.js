// What the page asks for, keeps and shows.

// Where the browser keeps nothing, the token lasts as long as the page.
let bearerToken = "";
try { bearerToken = sessionStorage.getItem("token") ?? ""; } catch { /* not kept */ }
const storedToken = () => bearerToken;
const storeToken = (text) => {
  bearerToken = text;
  try { sessionStorage.setItem("token", text); } catch { /* not kept */ }
};

const series = (name, color, value, more = {}) => ({ name, color, value, ...more });
const at = (list, index) => (list ? list[index] : null);
const charts = [];
let pointedAt = null;
const pointed = (sample, chart = null, part = null) => {
  pointedAt = sample;
  for (const each of charts) each.show(sample, each === chart ? part : null);
};
const lines = (options) => charts.push(new LineChart(options, pointed));

lines({ id: "calls", title: "Calls per second", format: "rate",
  series: [series("answered", "--a", (s) => s.calls, { area: true })] });
lines({ id: "errors", title: "Calls that failed", format: "percent", empty: [0, 0.01], cap: 1,
  series: [series("by the server", "--b", (s) => ratio(s.failed, s.calls), { area: true }),
    series("by the caller", "--d", (s) => ratio(s.mistaken, s.calls), { dash: "5 3" })] });
lines({ id: "latency", title: "Latency", format: "seconds", scale: "logarithmic", empty: [1e-5, 1e-2],
  series: [series("p50", "--c", (s) => s.p50), series("p99", "--a", (s) => s.p99),
    series("p99.9", "--b", (s) => s.p999, { dash: "5 3" })] });
charts.push(new HeatMap({ id: "heat", title: "Latency, all calls" }, pointed));
lines({ id: "flight", title: "Calls in flight, and their limits", format: "count", scale: "counts",
  series: [series("reads", "--a", (s) => at(s.reads, 0)), series("limit", "--a", (s) => at(s.reads, 1), { dash: "5 3" }),
    series("writes", "--b", (s) => at(s.writes, 0)), series("limit", "--b", (s) => at(s.writes, 1), { dash: "5 3" })] });
lines({ id: "ingest", title: "Ingest and commits", format: "rate",
  series: [series("rows", "--a", (s) => s.rows, { area: true }), series("log entries", "--c", (s) => s.entries),
    series("commits", "--b", (s) => s.commits, { dash: "5 3" })] });
lines({ id: "memory", title: "Memory", format: "bytes",
  series: [series("process", "--a", (s) => s.resident, { area: true }), series("index", "--c", (s) => s.index)] });
lines({ id: "processor", title: "Processor", format: "cores",
  series: [series("cores busy", "--a", (s) => s.cores, { area: true })] });

const ratio = (part, all) => (known(part) && known(all) && all > 0 ? part / all : known(all) ? 0 : null);
const last = (key) => { const s = kept.at(-1); return s && s.up ? s[key] : null; };

// The figure of now, what stands below it, and the line.
const tiles = [
  { id: "customers", name: "Customers", value: () => pair("count", now?.customers), more: () => (now ? `in ${whole(now.cohorts.length + now.cohortsLeftOff)} cohorts` : ""), line: (s) => s.customers, color: "--c" },
  { id: "calls", name: "Calls", value: () => pair("rate", last("calls")), more: () => peak("rate", (s) => s.calls), line: (s) => s.calls, color: "--a" },
  { id: "errors", name: "Calls failed", value: () => pair("percent", ratio(last("failed"), last("calls"))), more: () => `by the caller ${text("percent", ratio(last("mistaken"), last("calls")))}`, line: (s) => ratio(s.failed, s.calls), color: "--b" },
  { id: "p50", name: "Latency p50", value: () => pair("seconds", last("p50")), more: () => peak("seconds", (s) => s.p50), line: (s) => s.p50, color: "--c" },
  { id: "p99", name: "Latency p99", value: () => pair("seconds", last("p99")), more: () => `p99.9 ${text("seconds", last("p999"))}`, line: (s) => s.p99, color: "--a" },
  { id: "flight", name: "In flight", value: () => pair("count", last("running")), more: () => `${text("count", waiting())} waiting`, line: (s) => s.running, color: "--a" },
  { id: "ingest", name: "Ingest", value: () => withUnit(pair("rate", last("rows")), "rows"), more: () => `commit p99 ${text("seconds", last("commit99"))}`, line: (s) => s.rows, color: "--a" },
  { id: "memory", name: "Memory", value: () => pair("bytes", last("resident")), more: () => `index ${text("bytes", last("index"))}`, line: (s) => s.resident, color: "--c" },
];
const pair = (format, x) => formats[format](x);
const withUnit = ([value, unit], what) => [value, unit === "" ? "" : unit.replace("/s", ` ${what}/s`)];
const waiting = () => (now?.overload ? now.overload.queues.reduce((sum, queue) => sum + queue.waiting, 0) : 0);
function peak(format, value) {
  const most = Math.max(...visible().map(value).filter(known));
  return known(most) ? `at most ${text(format, most)}` : "";
}

// MARK: What is known

let kept = [];
let now = null;
let bounds = [];
let [instance, next, interval, history] = ["", 0, 2, 900];
let range = 0;
let [silentSince, refused, polls] = [null, false, 0];
let lastAnswer = null;

function visible() {
  if (kept.length === 0) return [];
  const from = kept.at(-1).t - (range || history) * 1000;
  return kept.filter((sample) => sample.t >= from);
}

function take(answer) {
  if (answer.instance !== instance) kept = [];
  ({ instance, next, interval, history, bounds } = answer);
  // Who has been away for longer gets all of them again.
  const first = answer.samples[0]?.n ?? Infinity;
  kept = kept.filter((sample) => sample.n < first);
  kept.push(...answer.samples);
  const oldest = (kept.at(-1)?.t ?? 0) - history * 1000;
  while (kept.length > 0 && kept[0].t < oldest) kept.shift();
  now = answer.server ?? null;
  lastAnswer = answer;
}

async function poll() {
  const headers = {};
  const bearer = storedToken();
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  try {
    const response = await fetch(`dashboard/data?since=${next}&instance=${encodeURIComponent(instance)}`, {
      headers, cache: "no-store", signal: AbortSignal.timeout(5000),
    });
    refused = response.status === 401 || response.status === 403;
    if (!refused && !response.ok) throw new Error(`HTTP ${response.status}`);
    silentSince = null;
    if (!refused) take(await response.json());
  } catch {
    silentSince ??= Date.now();
  }
  askForToken();
  render();
  polls += 1;
  document.body.dataset.polls = polls;
}

async function run() {
  for (;;) {
    // Nobody looks at a hidden page; it catches up when it is seen again.
    if (!document.hidden) await poll().catch((error) => console.error(error));
    await new Promise((resolve) => { wake = resolve; setTimeout(resolve, interval * 1000); });
  }
}
let wake = () => {};

function askForToken() {
  const form = byId("token");
  if (refused && form.hidden) {
    byId("token-text").textContent = storedToken()
      ? "The sidecar does not take this token. Another one:" : "The sidecar wants a token. It is kept until this tab is closed.";
    form.hidden = false;
    byId("token-input").focus();
  }
  if (!refused) form.hidden = true;
  byId("figures").hidden = refused;
}

// MARK: What is shown

/// Builds the content of a place anew only when what it shows has changed, so that a selection in it lives on.
const shown = new Map();
function place(id, value, build) {
  const key = JSON.stringify(value ?? null);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  byId(id).replaceChildren(...build(value));
}
const say = (name, content, className) => {
  const node = el(name, className ? { class: className } : {});
  node.textContent = content;
  return node;
};
const put = (id, content) => { if (byId(id).textContent !== content) byId(id).textContent = content; };

const states = { serving: ["Serving", "good"], starting: ["Starting", "warn"], draining: ["Draining", "warn"], degraded: ["Degraded", "bad"] };
function renderHead() {
  const alarm = byId("alarm");
  let [state, tone, problem] = ["Connecting…", "", ""];
  if (silentSince !== null) {
    [state, tone] = ["No connection", "bad"];
    problem = `The sidecar has not answered since ${clock(silentSince)} (${span((Date.now() - silentSince) / 1000)}). Trying again every ${interval} s.`;
  } else if (refused) {
    [state, tone] = ["Token needed", "warn"];
  } else if (lastAnswer && !lastAnswer.up) {
    [state, tone] = ["Not answering", "bad"];
    problem = now
      ? `The server has not answered since ${clock(lastAnswer.time - lastAnswer.silent * 1000)} (${span(lastAnswer.silent)}).`
      : `The server has not answered since the sidecar started, ${span(lastAnswer.silent)} ago.`;
    if (lastAnswer.problem) problem += ` ${lastAnswer.problem}`;
  } else if (now) {
    [state, tone] = states[now.state] ?? ["Unknown", "warn"];
    const open = now.breakers.filter((breaker) => breaker.state !== "closed");
    if (tone === "good" && open.length > 0) [state, tone] = ["Serving, breaker open", "warn"];
    if (now.detail) problem = `${state}: ${now.detail}`;
    if (now.driftDifferences > 0) problem = `${problem} ${whole(now.driftDifferences)} memberships differed from their rules.`.trim();
  }
  byId("state").className = `state ${tone}`;
  put("state-text", state);
  put("alarm", problem);
  alarm.hidden = problem === "";
  document.title = tone === "good" || tone === "" ? "Cohort" : `${state} – Cohort`;
  document.body.classList.toggle("stale", silentSince !== null || (lastAnswer !== null && !lastAnswer.up));
  if (now) put("facts", `cohort-server ${now.version} at ${lastAnswer.endpoint}, up ${span(now.uptime)}`);
}

function renderTiles() {
  for (const tile of tiles) {
    if (!tile.node) {
      tile.node = el("div", { class: "tile", id: `tile-${tile.id}` }, say("div", tile.name, "name"), el("div", { class: "value" }), el("div", { class: "more" }),
        svg("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path"), svg("path", { class: "line" })));
      byId("tiles").append(tile.node);
    }
    const [, value, more, drawing] = tile.node.children;
    const [figure, unit] = tile.value();
    value.replaceChildren(figure, ...(unit ? [say("small", ` ${unit}`)] : []));
    if (more.textContent !== tile.more()) more.textContent = tile.more();
    const samples = visible().filter((sample) => known(tile.line(sample)));
    const [from, to] = timeShown();
    const most = Math.max(...samples.map(tile.line), 0) * 1.1 || 1;
    const points = samples.map((s) => `${(((s.t - from) / (to - from)) * 100).toFixed(2)} ${(29 - (tile.line(s) / most) * 27).toFixed(2)}`);
    const [area, line] = drawing.children;
    line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    line.style.stroke = `var(${tile.color})`;
    area.setAttribute("d", points.length ? `M${points[0].split(" ")[0]} 30L${points.join("L")}L${points.at(-1).split(" ")[0]} 30Z` : "");
    area.style.fill = `var(${tile.color})`;
    area.style.opacity = ".12";
  }
}

/// From when to when the charts reach: at least two minutes, so that a young page is no close-up.
function timeShown() {
  const to = kept.at(-1)?.t ?? Date.now();
  const whole = Math.max(120, Math.ceil((to - (kept[0]?.t ?? to)) / 1000));
  return [to - (range || Math.min(history, whole)) * 1000, to];
}

function renderCharts() {
  const samples = visible();
  const [from, to] = timeShown();
  for (const chart of charts) {
    if (!chart.card.isConnected) byId("charts").append(chart.card);
    chart.draw(samples, from, to, interval, bounds);
  }
}

const bar = (label, part, second = 0) => {
  const node = el("span", { class: "bar", role: "img", "aria-label": label }, el("i"));
  node.firstChild.style.width = `${Math.min(100, part * 100)}%`;
  if (second > 0) {
    node.append(el("i", { class: "second" }));
    Object.assign(node.lastChild.style, { left: `${Math.min(100, part * 100)}%`, width: `${Math.min(100, second * 100)}%` });
  }
  return node;
};
const item = (name, right, ...below) => el("div", { class: "item" }, el("div", { class: "row" }, say("b", name), right), ...below);
const chip = (label, tone) => say("span", label, `chip ${tone}`);

function renderCohorts() {
  place("cohorts", [now?.cohorts, now?.cohortsLeftOff, now?.customers], ([cohorts, leftOff, customers]) => {
    if (!cohorts?.length) return [say("p", now ? "There is no cohort yet." : "Not known yet.", "note")];
    const head = el("tr", {}, say("th", "Cohort"), say("th", "State"), say("th", "Version", "n less"), say("th", "Members", "n"), say("th", "Share of customers", "less"), say("th", "Unknown", "n"));
    for (const cell of head.children) cell.setAttribute("scope", "col");
    const body = el("tbody");
    for (const cohort of cohorts) {
      const share = customers > 0 ? cohort.members / customers : 0;
      const unknown = customers > 0 ? cohort.unknown / customers : 0;
      const label = `${text("percent", share)} of the customers are members, of ${text("percent", unknown)} it is not known`;
      const place = el("td", { class: "share less" }, bar(label, share, unknown));
      place.title = label;
      const state = el("td", {}, chip(cohort.state, cohort.state === "active" ? "good" : "warn"));
      const row = el("tr", {}, say("td", cohort.id, "id"), state, say("td", cohort.version, "n less"), say("td", whole(cohort.members), "n"), place, say("td", whole(cohort.unknown), "n"));
      row.dataset.cohort = cohort.id;
      body.append(row);
    }
    const parts = [el("table", {}, el("thead", {}, head), body)];
    if (leftOff > 0) parts.push(say("p", `The ${whole(cohorts.length)} largest; ${whole(leftOff)} more are left off.`, "note"));
    return parts;
  });
}

const phases = { waiting: "waits", scanning: "evaluates every customer", catchingUp: "catches up", switching: "switches" };
function renderBuilds() {
  place("builds", now?.builds, (builds) => {
    if (!builds?.length) return [say("p", now ? "No rule is being built." : "Not known yet.", "note")];
    return builds.map((build) => {
      const part = build.total > 0 ? build.done / build.total : 0;
      const progress = bar("", part);
      for (const [key, value] of Object.entries({ role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(part * 100), "aria-label": `Build of ${build.cohort}` })) progress.setAttribute(key, value);
      const name = build.preview ? `Preview of ${build.cohort}` : `${build.cohort}, version ${build.version}`;
      const left = known(build.remaining) ? `, about ${span(build.remaining)} left` : "";
      return item(name, say("span", text("percent", part)), progress, say("p", `${phases[build.phase] ?? build.phase}: ${whole(build.done)} of ${whole(build.total)} customers${left}`, "note"));
    });
  });
}

function renderOverload() {
  place("overload", [now?.overload, now?.queueRows, now?.queueLimit], ([overload, rows, limit]) => {
    if (!now) return [say("p", "Not known yet.", "note")];
    const parts = [];
    for (const queue of overload?.queues ?? []) {
      const part = queue.limit > 0 ? queue.running / queue.limit : 0;
      const right = say("span", `${whole(queue.running)} of ${whole(queue.limit)} run`);
      parts.push(item(`Calls, ${queue.class}`, right, bar(`${queue.class} calls: ${text("percent", part)} of the limit`, part),
        say("p", `${whole(queue.waiting)} of ${whole(queue.capacity)} places in the queue taken`, "note")));
    }
    const part = limit > 0 ? rows / limit : 0;
    parts.push(item("Rows before the committer", say("span", `${whole(rows)} of ${whole(limit)}`), bar(`write queue: ${text("percent", part)} of the limit`, part)));
    if (!overload) return [...parts, say("p", "The limits against overload are off.", "note")];
    const reasons = Object.entries(overload.rejected).filter(([, count]) => count > 0).sort().map(([reason, count]) => `${whole(count)} ${reason.replaceAll("_", " ")}`);
    const shed = overload.level > 0 ? ` Shedding at ${three(overload.level)} of 3.` : "";
    const did = overload.dryRun ? "Would have refused since the start (dry run)" : "Refused since the start";
    parts.push(say("p", `${did}: ${reasons.join(", ") || "none"}.${shed}`, "note item"));
    return parts;
  });
}

const breakerTones = { closed: "good", "half open": "warn", open: "bad" };
function renderBreakers() {
  place("breakers", now?.breakers, (breakers) => {
    if (!breakers?.length) return [say("p", now ? "The server has none." : "Not known yet.", "note")];
    return breakers.map((breaker) => {
      const retry = known(breaker.retry) ? `, tried again in ${span(breaker.retry)}` : "";
      const strip = el("canvas", { class: "strip", role: "img", "aria-label": `${breaker.name} over time, now ${breaker.state}`, "data-breaker": breaker.name });
      return item(breaker.name.replaceAll("_", " "), chip(breaker.state + retry, breakerTones[breaker.state] ?? "warn"), strip,
        say("p", `${breaker.failed} % failed, ${breaker.slow} % slow; opened ${whole(breaker.opened)}×, ${whole(breaker.rejected)} calls refused`, "note"));
    });
  });
  const [from, to] = timeShown();
  const tones = [token("--good"), token("--warn"), token("--bad")];
  for (const strip of document.querySelectorAll(".strip")) {
    strip.width = Math.round(strip.clientWidth * (window.devicePixelRatio || 1));
    strip.height = 1;
    const context = strip.getContext("2d");
    const x = (t) => Math.round(((t - from) / (to - from)) * strip.width);
    visible().forEach((sample, index, all) => {
      const begin = x(all[index - 1]?.t ?? sample.t - interval * 1000);
      const state = sample.breakers?.[strip.dataset.breaker];
      if (!known(state)) return;
      context.fillStyle = tones[state] ?? tones[2];
      context.fillRect(begin, 0, Math.max(1, x(sample.t) - begin), 1);
    });
  }
}

function renderStore() {
  place("store", now && [now.sequence, now.applied, now.storeBytes, now.logBytes, now.attributes, now.watches, now.approvals, now.driftChecked, now.driftDifferences, now.storeID], (values) => {
    if (!values) return [el("div", {}, say("dt", "Not known yet."))];
    const behind = now.sequence - now.applied;
    return [
      ["Sequence", whole(now.sequence)], ["Tables behind", `${whole(behind)} entries`], ["Store on disk", text("bytes", now.storeBytes)],
      ["Change log", text("bytes", now.logBytes)], ["Attributes declared", whole(now.attributes)], ["Watches", whole(now.watches)],
      ["Waiting for approval", whole(now.approvals)],
      ["Drift", `${whole(now.driftDifferences)} in ${whole(now.driftChecked)} checked`], ["Store id", now.storeID.slice(0, 8)],
    ].map(([name, value]) => el("div", {}, say("dt", name), say("dd", value)));
  });
}

const columns = [["Time", (s) => clock(s.t)], ["Calls", (s) => text("rate", s.calls)], ["Failed", (s) => text("percent", ratio(s.failed, s.calls))],
  ["p50", (s) => text("seconds", s.p50)], ["p99", (s) => text("seconds", s.p99)], ["p99.9", (s) => text("seconds", s.p999)],
  ["In flight", (s) => text("count", s.running)], ["Rows", (s) => text("rate", s.rows)], ["Commits", (s) => text("rate", s.commits)],
  ["Memory", (s) => text("bytes", s.resident)], ["Cores", (s) => text("cores", s.cores)]];
function renderTable() {
  if (!byId("table").open || kept.length === 0) return;
  const head = el("tr", {}, ...columns.map(([name]) => fill(say("th", name, "n"), { scope: "col" }, [])));
  const rows = kept.filter((s) => s.t > kept.at(-1).t - 60000).reverse();
  const body = rows.map((s) => el("tr", {}, ...columns.map(([, value]) => say("td", s.up ? value(s) : value === columns[0][1] ? value(s) : nothing, "n"))));
  byId("table").lastElementChild.replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...body)));
}

function render() {
  renderHead();
  if (refused) return;
  for (const part of [renderTiles, renderCharts, renderCohorts, renderBuilds, renderOverload, renderBreakers, renderStore, renderTable]) part();
  if (lastAnswer) put("foot", `One figure every ${interval} s, the last ${span(history)} kept; without the operator's own questions and health checks. Latency is that of calls with one answer. Failed by the server: refused, timed out, unavailable, internal; by the caller: other codes, as NOT_FOUND. cohort-sidecar ${lastAnswer.sidecar}.`);
}

// MARK: What is done

for (const button of document.querySelectorAll("[data-range]")) {
  button.addEventListener("click", () => {
    range = Number(button.dataset.range);
    for (const other of document.querySelectorAll("[data-range]")) other.setAttribute("aria-pressed", String(other === button));
    render();
  });
}
byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  storeToken(byId("token-input").value.trim());
  byId("token-input").value = "";
  byId("token").hidden = true;
  wake();
});
byId("table").addEventListener("toggle", renderTable);
document.addEventListener("visibilitychange", () => { if (!document.hidden) wake(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
let resizing = 0;
new ResizeObserver(() => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(render);
}).observe(byId("charts"));
run();

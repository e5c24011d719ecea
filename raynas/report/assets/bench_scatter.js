// What is chosen on the page, how statistics are written, and the scatter plot of a label against a predictor.

const bench = data.bench;
const { labels, predictors } = bench;
const pairs = new Map(bench.rows.map((row) => [`${row[0]} ${row[1]}`, Object.fromEntries(bench.columns.map((name, i) => [name, row[i]]))]));
const toBeat = bench.to_beat.map((name) => predictors.findIndex((one) => one.name === name));
const means = new Map(bench.strata.filter((row) => row[3] === null).map((row) => [`${row[2]} ${row[0]} ${row[1]}`, row]));
const withinFields = [...new Set(bench.strata.map((row) => row[2]))];
const [TAU, LOW, HIGH] = ["tau", "tau_low", "tau_high"].map((name) => bench.strata_columns.indexOf(name));

function pairOf(p, k) {
  return pairs.get(`${p} ${k}`);
}

// What can be shown of a predictor and a label: a value, and the ends of its interval.
const MEASURES = [
  ...[["tau", "Kendall τ-b"], ["rho", "Spearman ρ"], ["r", "Pearson r"], ["partial_tau", "τ given parameters"]].map(([id, title]) => ({
    id,
    title,
    of: (p, k) => pairOf(p, k)[id],
    ends: (p, k) => [pairOf(p, k)[`${id}_low`], pairOf(p, k)[`${id}_high`]],
  })),
  ...withinFields.map((field) => ({
    id: `within ${field}`,
    title: `τ within ${field}`,
    of: (p, k) => means.get(`${field} ${p} ${k}`)[TAU],
    ends: (p, k) => [means.get(`${field} ${p} ${k}`)[LOW], means.get(`${field} ${p} ${k}`)[HIGH]],
  })),
];

function decimal(value) {
  return withSign(value.toFixed(2).replace(/^-0\.00$/, "0.00"));
}

function signed(value) {
  return value === null ? "?" : value > 0 ? `+${decimal(value)}` : decimal(value);
}

function between(value, low, high) {
  if (value === null) return "τ-b unknown";
  return `τ-b ${decimal(value)}${low === null ? "" : ` (${decimal(low)} to ${decimal(high)})`}`;
}

function describePair(p, k) {
  const pair = pairOf(p, k);
  if (pair.tau === null) return `${predictors[p].name} and ${labels[k].name}: no correlation, n = ${whole(pair.n)}`;
  const rest = pair.partial_tau === null ? "" : `, given parameters ${decimal(pair.partial_tau)}${pair.n_sized < pair.n ? ` (of ${whole(pair.n_sized)})` : ""}`;
  return `${predictors[p].name} and ${labels[k].name}: ${between(pair.tau, pair.tau_low, pair.tau_high)}${rest}, ρ ${decimal(pair.rho)}, n = ${whole(pair.n)}`;
}

const listeners = [];
const chosen = {
  label: 0,
  predictor: predictors.reduce((best, { kind }, p) => {
    if (kind === "baseline" && best !== 0) return best;
    const value = (one) => (predictors[one].kind === "baseline" ? -3 : (pairOf(one, 0).tau ?? -2));
    return value(p) > value(best) ? p : best;
  }, 0),
};

function choose(change) {
  Object.assign(chosen, change);
  for (const listener of listeners) listener();
}

// The predictors that the filter lets through, all where it is empty; and what draws itself again when it changes.
const filtered = [];
let wanted = [];

function shownPredictors() {
  const all = predictors.map((_, p) => p);
  return wanted.length ? all.filter((p) => wanted.some((word) => `${predictors[p].name} ${predictors[p].kind}`.toLowerCase().includes(word))) : all;
}

function filterBy(text) {
  wanted = text.toLowerCase().split(/[\s,]+/).filter(Boolean);
  for (const again of filtered) again();
}

// Ranks from 1, the best, ties by their mean; null where there is no value.
function ranksOf(values, maximize) {
  const order = [...values.keys()].filter((i) => values[i] !== null).sort((a, b) => (maximize ? values[b] - values[a] : values[a] - values[b]));
  const ranks = values.map(() => null);
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end + 1 < order.length && values[order[end + 1]] === values[order[start]]) end++;
    for (let i = start; i <= end; i++) ranks[order[i]] = (start + end) / 2 + 1;
    start = end + 1;
  }
  return ranks;
}

function showAgreementPlot() {
  if (!size) {
    byId("scatter").hidden = true;
    return;
  }
  const up = select("label", labels.map(({ name }, i) => [String(i), name]), String(chosen.label));
  const across = select("predictor", predictors.map(({ name }, i) => [String(i), name]), String(chosen.predictor));
  const paint = select("colour", [["", "one colour"], ...data.colours.map(({ name }) => [name, name])], data.colours.length ? data.colours[0].name : "");
  const scale = select("axes", [["values", "values"], ["ranks", "ranks"]], "values");
  for (const [text, node] of [["label", up], ["predictor", across], ["colour", paint], ["axes", scale]]) byId("scatter-controls").append(el("label", {}, `${text} `, node));
  const holder = byId("scatter-plot");
  const state = { chosen: null, pinned: null, spots: [], order: [] };
  const again = drawn(holder, (width) => drawAgreement(holder, width, state, data.colours.find(({ name }) => name === paint.value), scale.value === "ranks"));
  up.addEventListener("change", () => choose({ label: Number(up.value) }));
  across.addEventListener("change", () => choose({ predictor: Number(across.value) }));
  paint.addEventListener("change", again);
  scale.addEventListener("change", again);
  listeners.push(() => {
    up.value = String(chosen.label);
    across.value = String(chosen.predictor);
    again();
    showPoint(state);
  });
  const point = (to) => {
    if (to === null || to === state.chosen) return;
    state.chosen = to;
    showPoint(state);
    mark(state);
  };
  holder.addEventListener("pointermove", (event) => state.pinned === null && point(nearest(state, event, holder)));
  holder.addEventListener("click", (event) => {
    const found = nearest(state, event, holder);
    state.pinned = found === null || found === state.pinned ? null : found;
    point(found);
    showPoint(state);
    mark(state);
  });
  holder.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 10, ArrowDown: -10 }[event.key];
    if (step) {
      state.pinned = null;
      point(state.order[Math.min(state.order.length - 1, Math.max(0, state.order.indexOf(state.chosen) + step))]);
    } else if (event.key === "Enter" || event.key === "Escape") {
      state.pinned = event.key === "Escape" || state.pinned === state.chosen ? null : state.chosen;
      showPoint(state);
      mark(state);
    } else return;
    event.preventDefault();
  });
  point(bestOf(chosen.label));
  remember("scatter", () => (state.pinned === null ? null : textOf(state.pinned)), (text) => {
    state.pinned = pointOf(text);
    point(state.pinned);
    showPoint(state);
    mark(state);
  });
}

function bestOf(k) {
  const { name, maximize } = labels[k];
  const values = columns.get(name).values;
  return values.reduce((best, value, i) => (value !== null && (values[best] === null || (maximize ? value > values[best] : value < values[best])) ? i : best), 0);
}

function drawAgreement(holder, width, state, colouring, isRanked) {
  const label = labels[chosen.label], predictor = predictors[chosen.predictor];
  const raw = [columns.get(predictor.name), columns.get(label.name)];
  const direction = predictor.kind === "baseline" || predictor.higher_is_better;
  const [xs, ys] = isRanked ? [ranksOf(raw[0].values, direction), ranksOf(raw[1].values, label.maximize)] : raw.map(({ values }) => values);
  const all = [...Array(size).keys()].filter((point) => ys[point] !== null);
  const valued = all.filter((point) => xs[point] !== null);
  const lacking = all.filter((point) => xs[point] === null);
  const strip = lacking.length ? 34 : 0;
  const height = Math.max(300, Math.min(460, Math.round(width * 0.66)));
  const isCount = predictor.kind === "baseline" && !isRanked;
  const yAxis = axisOf(all.map((point) => ys[point]), height - 64, { spacing: 44, isLinear: isRanked });
  const margin = { left: leftMargin(yAxis), right: 12 + strip, top: 24, bottom: 40 };
  const xAxis = axisOf(valued.map((point) => xs[point]), width - margin.left - margin.right, { isCount, spacing: 64, isLinear: isRanked });
  const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": `${label.name} against ${predictor.name}` });
  // Of ranks, 1 is the best one: the axes are turned, so that good is up and right as for values.
  const turn = (axis, isTurned) => (isTurned ? { ...axis, at: (value) => 1 - axis.at(value), ticks: axis.ticks.toReversed() } : axis);
  const hint = (isUp, [better, worse]) => (isRanked ? better : isUp ? better : worse);
  const { px, py, inner } = axes(picture, width, height, margin, turn(xAxis, isRanked), turn(yAxis, isRanked), {
    x: `${isRanked ? "rank by " : ""}${titleOf(predictor.name)}`,
    y: `${isRanked ? "rank by " : ""}${label.name}`,
    xHint: hint(direction, [" → better", " ← better"]),
    yHint: hint(label.maximize, [" ↑ better", " ↓ better"]),
  });
  const edge = inner.right + 24;
  state.spots = [...valued.map((point) => [px(xs[point]), py(ys[point]), point]), ...lacking.map((point) => [edge, py(ys[point]), point])];
  state.order = [...state.spots].sort((a, b) => a[0] - b[0] || b[1] - a[1]).map((spot) => spot[2]);
  if (strip) {
    picture.append(svg("line", { class: "base", x1: inner.right + 10, x2: inner.right + 10, y1: inner.top, y2: inner.bottom }));
    picture.append(svg("text", { x: edge, y: inner.top - 8, "text-anchor": "middle", text: "none" }));
  }
  const canvas = el("canvas", { "aria-hidden": "true" });
  paintSpots(canvas, width, height, state.spots, colouring, new Set(lacking));
  const overlay = svg("svg", { width, height, class: "chart overlay", "aria-hidden": "true" });
  state.marker = svg("path", { class: "marker", d: "" });
  overlay.append(state.marker);
  holder.replaceChildren(picture, canvas, overlay);
  holder.style.height = `${height}px`;
  holder.setAttribute("tabindex", "0");
  holder.setAttribute("role", "application");
  holder.setAttribute("aria-label", `Scatter plot of ${label.name} against ${predictor.name}; arrow keys move between architectures`);
  mark(state);
  byId("scatter-legend").replaceChildren(
    ...(colouring ? colouring.values.map((value, i) => legendEntry("circle", `fill-${i}`, i ? value : `${colouring.name} ${value}`)) : [legendEntry("circle", "point", "architecture")]),
    ...(strip ? [legendEntry("cross", "failed", `no ${predictor.name}`)] : []),
  );
  const sample = size < data.total ? ` ${whole(size)} of ${whole(data.total)} architectures are drawn: the best by each column and a fixed random sample of the others; the figures are of all.` : "";
  byId("scatter-note").textContent = `${describePair(chosen.predictor, chosen.label)}.${sample}`;
}

function paintSpots(canvas, width, height, spots, colouring, lacking) {
  const ratio = window.devicePixelRatio || 1;
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const r = spots.length > 1500 ? 2.2 : spots.length > 300 ? 3 : 4;
  const styles = colouring ? colouring.values.map((_, i) => colour(`part-${i}`)) : [colour("point")];
  const paths = styles.map(() => new Path2D());
  const crosses = new Path2D();
  for (const [left, top, point] of spots) {
    if (lacking.has(point)) crosses.addPath(new Path2D(symbol("cross", left, top, 3)));
    else paths[colouring ? colouring.of[point] : 0].addPath(new Path2D(symbol("circle", left, top, r)));
  }
  context.globalAlpha = spots.length > 1500 ? 0.5 : 0.75;
  paths.forEach((path, i) => {
    context.fillStyle = styles[i];
    context.fill(path);
  });
  context.strokeStyle = colour("failed");
  context.stroke(crosses);
}

// The architecture under the pointer: its text, where it ranks, its labels and its picture.
function showPoint({ chosen: point, pinned }) {
  const predictor = predictors[chosen.predictor], label = labels[chosen.label];
  const ranked = (name, maximize) => {
    const ranks = ranksOf(columns.get(name).values, maximize);
    const count = ranks.filter((rank) => rank !== null).length;
    return ranks[point] === null ? "" : ` · #${number(Math.ceil(ranks[point]))} of ${whole(count)}${size < data.total ? " drawn" : ""}`;
  };
  const entry = (name, maximize, isChosen) =>
    el(
      "div",
      { class: isChosen ? "objective" : null },
      el("dt", { text: titleOf(name) }),
      el("dd", { text: shownValue(name, columns.get(name).values[point]) }, isChosen ? el("span", { class: "muted", text: ranked(name, maximize) }) : null),
    );
  const text = textOf(point);
  byId("scatter-panel").replaceChildren(
    el(
      "div",
      { class: "architecture" },
      el(
        "div",
        { class: "identity" },
        el("p", { class: "rank" }, el("strong", { text: pinned === point ? "Kept" : "Architecture" }), el("span", { class: "muted", text: points.note[point] })),
        el("p", { class: "genotype" }, el("code", {}, ...breakable(text)), copyButton(text)),
        el(
          "dl",
          { class: "scores" },
          entry(predictor.name, predictor.kind === "baseline" || predictor.higher_is_better, true),
          ...labels.map((one, k) => entry(one.name, one.maximize, k === chosen.label)),
        ),
      ),
      picture(point, null),
    ),
    el("p", { class: "hint", text: pinned === point ? "Click it again to let it go." : "Point at a mark, or use the arrow keys; a click keeps it here." }),
  );
  return label;
}

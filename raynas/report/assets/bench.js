// The page of a benchmark: what is chosen, its first picture, and all sections.

function select(label, options, start) {
  return el("select", { "aria-label": label }, ...options.map(([value, text]) => el("option", { value, text, selected: value === start })));
}

// Correlations with their interval, the best first; the dashed lines are what has to be beaten.
function showRanking() {
  const label = select("label", labels.map(({ name }, i) => [String(i), name]), String(chosen.label));
  const measure = select("measure", MEASURES.map(({ id, title }) => [id, title]), "tau");
  const filter = el("input", { type: "search", placeholder: "such as zico size", "aria-label": "filter", title: "Parts of names, or kinds: what has one of them is shown, on the whole page" });
  byId("ranking-controls").append(el("label", {}, "label ", label), el("label", {}, "measure ", measure), el("label", {}, "filter ", filter));
  const plot = byId("ranking-plot");
  const state = { spots: [], isWhole: false };
  const again = drawn(plot, (width) => drawRanking(plot, width, MEASURES.find(({ id }) => id === measure.value), state));
  label.addEventListener("change", () => choose({ label: Number(label.value) }));
  measure.addEventListener("change", again);
  filter.addEventListener("input", () => filterBy(filter.value));
  filtered.push(() => {
    const count = shownPredictors().length;
    byId("ranking-filtered").textContent = wanted.length ? `${whole(count)} of ${whole(predictors.length)} predictors pass the filter, here and in the tables below.` : "";
    again();
  });
  byId("ranking-more").addEventListener("click", () => {
    state.isWhole = !state.isWhole;
    again();
  });
  plot.addEventListener("click", (event) => {
    const top = event.clientY - plot.getBoundingClientRect().top;
    const spot = state.spots.find(({ from, to }) => top >= from && top < to);
    if (spot) choose({ predictor: spot.p });
  });
  plot.setAttribute("tabindex", "0");
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", "Predictors, the best first; arrow keys choose one");
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    if (!state.spots.length) return;
    const at = state.spots.findIndex(({ p }) => p === chosen.predictor);
    choose({ predictor: state.spots[Math.min(state.spots.length - 1, Math.max(0, at + step))].p });
    event.preventDefault();
  });
  remember("ranking", () => state.isWhole || null, () => {
    state.isWhole = true;
    again();
  });
  byId("ranking-legend").append(
    legendEntry("circle", "point", "proxy, above what is to beat beyond chance"),
    legendEntry("circle", "hollow", "proxy, not above it, or by what may be chance"),
    ...(predictors.some(({ kind }) => kind === "combination") ? [legendEntry("square", "combination", "combination, above it"), legendEntry("square", "combination hollow", "combination, not above it")] : []),
    legendEntry("diamond", "baseline", "baseline"),
    lineEntry("beat-line", `to beat: ${toBeat.map((p) => predictors[p].name).join(", ")}`),
  );
  listeners.push(() => {
    label.value = String(chosen.label);
    again();
    showVerdict();
  });
  byId("ranking-note").textContent =
    `Marks: the correlation with the label, turned so that right of zero is good; lines: ${100 * bench.level} % of ${whole(bench.resamples)} resamples of the architectures. ` +
    "Correlations are over the architectures for which a predictor has a value.";
  showVerdict();
}

// What the figures say of the chosen label, in one sentence.
function showVerdict() {
  const k = chosen.label;
  const ranked = predictors.map((_, p) => p).filter((p) => pairOf(p, k).tau !== null).sort((a, b) => pairOf(b, k).tau - pairOf(a, k).tau);
  const best = ranked.find((p) => predictors[p].kind !== "baseline");
  const rival = ranked.find((p) => toBeat.includes(p));
  if (best === undefined) {
    byId("ranking-verdict").textContent = "No proxy has a value that could be ranked.";
    return;
  }
  const pair = pairOf(best, k);
  const said = [el("strong", { text: predictors[best].name }), ` ranks ${labels[k].name} best: ${between(pair.tau, pair.tau_low, pair.tau_high)}. `];
  if (rival !== undefined && pair.lead !== null) {
    const size = pairOf(rival, k);
    const by = `${signed(pair.lead)} (${signed(pair.lead_low)} to ${signed(pair.lead_high)})`;
    const among = pair.n_sized < pair.n ? ` among the ${whole(pair.n_sized)} of ${whole(pair.n)} architectures whose costs are known` : "";
    const word = pair.lead_low > 0 ? "above" : pair.lead > 0 ? "above, by what may be chance," : "not above";
    said.push(`That is ${word} ${predictors[rival].name} with ${decimal(size.tau)}: ${by}${among}. `);
  }
  const count = predictors.filter(({ kind }) => kind !== "baseline").length;
  if (count > 1) said.push(`It was picked from ${whole(count)} on these same architectures, which flatters it.`);
  byId("ranking-verdict").replaceChildren(...said);
}

const ROW = 23;
const FOLDED = 20;

// The best first; of many, the first ones and what is to be beaten, until all are asked for.
function rankedRows(value, state) {
  const order = shownPredictors().sort((a, b) => (value(b) ?? -9) - (value(a) ?? -9));
  const rows = state.isWhole ? order : order.filter((p, i) => i < FOLDED || toBeat.includes(p));
  const more = byId("ranking-more");
  more.hidden = order.length === rows.length && !(state.isWhole && order.length > FOLDED);
  more.textContent = state.isWhole ? `show the best ${FOLDED} alone` : `show all ${whole(order.length)}`;
  return rows;
}

function drawRanking(plot, width, measure, state) {
  const k = chosen.label;
  const value = (p) => measure.of(p, k);
  const order = rankedRows(value, state);
  const isNarrow = width < 640;
  const longest = Math.max(...predictors.map(({ name }) => name.length));
  const margin = { left: Math.min(12 + 6.7 * longest, Math.max(96, width * 0.36)), right: isNarrow ? 46 : 142, top: 6, bottom: 40 };
  const height = order.length * ROW + margin.top + margin.bottom;
  const ends = order.flatMap((p) => [value(p), ...measure.ends(p, k)]).filter((one) => one !== null);
  const xAxis = axisOf([0, ...ends], width - margin.left - margin.right, { isLinear: true, spacing: 64 });
  const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": `${measure.title} with ${labels[k].name}` });
  const { px, inner } = axes(picture, width, height, margin, xAxis, { ticks: [], suffix: "", at: () => 0 }, { x: `${measure.title} with ${labels[k].name}`, xHint: isNarrow ? "" : " → better" });
  picture.append(svg("line", { class: "zero", x1: px(0), x2: px(0), y1: inner.top, y2: inner.bottom }));
  for (const p of toBeat) {
    if (value(p) !== null) picture.append(svg("line", { class: "beat-line", x1: px(value(p)), x2: px(value(p)), y1: inner.top, y2: inner.bottom }));
  }
  const fits = Math.floor((margin.left - 10) / 6.7);
  state.spots = order.map((p, i) => {
    const { name, kind } = predictors[p];
    const from = margin.top + i * ROW, middle = from + ROW / 2;
    const pair = pairOf(p, k);
    const [low, high] = measure.ends(p, k);
    const row = svg("g", { class: p === chosen.predictor ? "row chosen" : "row" }, svg("title", { text: describePair(p, k) }));
    row.append(svg("rect", { class: "hit", x: 0, y: from, width, height: ROW }));
    row.append(svg("text", { class: `name ${kind}`, x: 0, y: middle + 4, text: name.length > fits ? `${name.slice(0, fits - 1)}…` : name }));
    if (value(p) === null) row.append(svg("text", { x: width, y: middle + 4, "text-anchor": "end", text: "–" }));
    else {
      if (low !== null) row.append(svg("line", { class: `whisker ${kind}`, x1: px(low), x2: px(high), y1: middle, y2: middle }));
      const shape = { proxy: "circle", baseline: "diamond", combination: "square" }[kind];
      const style = kind === "baseline" ? "baseline" : `${kind === "combination" ? "combination" : "point"}${pair.useful ? "" : " hollow"}`;
      row.append(svg("path", { class: `mark ${style}`, d: symbol(shape, px(value(p)), middle, 4.2) }));
      row.append(svg("text", { class: "value", x: isNarrow ? width : inner.right + 44, y: middle + 4, "text-anchor": "end", text: decimal(value(p)) }));
      if (low !== null && !isNarrow) row.append(svg("text", { x: width, y: middle + 4, "text-anchor": "end", text: `${decimal(low)} to ${decimal(high)}` }));
    }
    picture.append(row);
    return { p, from, to: from + ROW };
  });
  plot.replaceChildren(picture);
  plot.style.height = `${height}px`;
}

showHead(data.facts);
if (bench.aggregates_only) byId("notice").append(el("p", { class: "setting", text: "Aggregates only: this page holds no single architecture of the table and none of its labels." }));
const leftOut = Object.entries(bench.left_out);
if (leftOut.length) byId("notice").append(el("p", { class: "setting", text: `Left out: ${leftOut.map(([name, why]) => `${name} (${why})`).join(", ")}.` }));
byId("setup-title").textContent = "What was compared, and how";
const idle = Object.entries(bench.idle);
if (idle.length) byId("notice").append(el("p", { class: "setting", text: `Baselines that do not apply here: ${idle.map(([name, why]) => `${name} (${why})`).join(", ")}.` }));
if (bench.pending.length) byId("notice").append(el("p", { class: "setting", text: `Too few architectures are scored so far to compare with ${bench.pending.join(", ")}.` }));
showRanking();
showHeat();
showAgreementPlot();
showAmong();
showNumbers();
showStrata();
if (data.failures.length) showFailures();
else byId("failures").hidden = true;
showTime();
showSetup();
showNavigation();

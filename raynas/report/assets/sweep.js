// The page of a sweep: searchers side by side.

const { measure, budget } = data;
const isCost = ["num_params", "macs"].includes(measure.name);

function valueOf(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  return isCost ? compact(value) : number(value, digits);
}

function levelLabel({ label }) {
  return label === "named" ? "asked for" : label;
}

function showTraces() {
  const note = byId("traces-note");
  if (!data.curves.length) {
    note.textContent = "No search has ended yet.";
    return;
  }
  const lines = data.curves.flatMap(({ searcher, at, median, low, high, searches }, k) => [
    { name: searcher, style: k, at, values: median, low, high, isStep: true, isHeld: true },
    ...searches.map((one) => ({ name: one.name, style: k, at: one.at, values: one.values, isStep: true, isHeld: true, isThin: true })),
  ]);
  const levels = data.levels.map((level) => ({ value: level.value, label: levelLabel(level).length > 40 ? "level" : `level, ${levelLabel(level)}` }));
  byId("traces-plot").append(
    lineFigure({ title: titleOf(measure.name), yHint: measure.maximize ? "↑ better" : "↓ better", x: "calls", unit: "call", lines, levels, last: budget, height: 0.42, format: (value) => valueOf(value), isCount: isCost, isLinear: measure.name === "hypervolume" }),
  );
  const volume = measure.name === "hypervolume" ? " The hypervolume is the share of the box between the best and the worst values of all searches that the found ones dominate." : "";
  note.textContent = `Lines: the median over the seeds of a searcher, in a band from the first to the third quartile; thin lines: single searches. A call is one candidate that the searcher chose, whether it was scored, looked up or failed.${volume}`;
  showMilestones();
}

function showMilestones() {
  const calls = data.rows[0].at.map((one) => one.calls).slice(-6);
  const cellOf = ({ median, low, high }) => [el("strong", { text: valueOf(median) }), el("br"), el("span", { class: "muted", text: low === null && high === null ? "" : `${valueOf(low, 3)} to ${valueOf(high, 3)}` })];
  const made = [
    { title: "median and quartiles after", cell: ({ searcher }) => searcher },
    ...calls.map((count) => ({ title: plural(count, "call", "calls"), isNumber: true, cell: ({ at }) => cellOf(at.find((one) => one.calls === count)) })),
    { title: "all calls", isNumber: true, cell: ({ evaluations }) => whole(evaluations) },
    { title: "time", isNumber: true, cell: ({ seconds }) => duration(seconds) },
  ];
  byId("traces-table").append(rowsTable(made, data.rows));
}

function showLevels() {
  if (!data.levels.length || !data.curves.length) {
    byId("levels").hidden = true;
    return;
  }
  byId("levels-note").textContent = "A dot for each seed at the call that first gave a value as good as the level, a bar at their median, and a cross for a seed that never did.";
  data.levels.forEach((level, i) => {
    const plot = el("div", { class: "plot" });
    const caption = el("figcaption", {}, el("strong", { text: `${titleOf(measure.name)} ${valueOf(level.value)}` }), " ", el("span", { class: "muted", text: levelLabel(level) }));
    byId("levels-plots").append(el("figure", {}, caption, plot));
    drawn(plot, (width) => drawLevel(plot, width, level, i));
  });
}

function drawLevel(plot, width, { value, searchers }, level) {
  const row = 44, height = searchers.length * row + 44;
  const names = 8 + 7 * Math.min(24, Math.max(...searchers.map(({ searcher }) => searcher.length)));
  const margin = { left: Math.min(names, width * 0.4), right: 92, top: 4, bottom: 40 };
  const xAxis = axisOf([0, budget], width - margin.left - margin.right, { isCount: true, isLinear: true, isTight: true, spacing: 56 });
  const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": `Calls to reach ${valueOf(value)}` });
  const { px, inner } = axes(picture, width, height, margin, xAxis, { ticks: [], suffix: "", at: () => 0 }, { x: "calls" });
  const never = inner.right + 14;
  searchers.forEach(({ searcher, seeds, calls }, k) => {
    const middle = margin.top + row * (k + 0.5);
    const reached = calls.filter((count) => count !== null).length;
    const fits = Math.floor((margin.left - 8) / 7);
    picture.append(
      svg("line", { class: "rule", x1: inner.left, x2: inner.right, y1: middle, y2: middle }),
      svg("text", { x: 0, y: middle + 4, text: searcher.length > fits ? `${searcher.slice(0, fits - 1)}…` : searcher }, svg("title", { text: searcher })),
      svg("text", { x: width, y: middle + 4, "text-anchor": "end", text: `${reached} of ${calls.length}` }),
    );
    calls.forEach((count, i) => {
      // Seeds lie a little apart, so that equal ones can be told from one.
      const y = middle + (calls.length > 1 ? ((i / (calls.length - 1)) * 2 - 1) * 11 : 0);
      const title = svg("title", { text: `seed ${seeds[i]}: ${count === null ? "not reached" : plural(count, "call", "calls")}` });
      const mark = count === null ? { class: "mark failed", d: symbol("cross", never, y, 2.6) } : { class: `dot filled series-${k % MAX_STYLES}`, d: symbol("circle", px(count), y, 3.4) };
      picture.append(svg("path", mark, title));
    });
    const { calls: median } = data.rows[k].levels[level];
    if (median !== null) picture.append(svg("line", { class: `median series-${k % MAX_STYLES}`, x1: px(median), x2: px(median), y1: middle - 16, y2: middle + 16 }, svg("title", { text: `median ${number(median)}` })));
  });
  plot.replaceChildren(picture);
  plot.style.height = `${height}px`;
}

function showSearches() {
  const made = [
    { title: "search", cell: ({ name, folder, has_report: hasReport }) => folderLink(folder, hasReport, name) },
    { title: "searcher", cell: ({ searcher }) => searcher },
    { title: "seed", isNumber: true, cell: ({ seed }) => whole(seed) },
    { title: "status", cell: ({ status, error }) => [el("span", { text: status }), error ? el("p", { class: "reason", text: error }) : null].filter(Boolean) },
    { title: "calls", isNumber: true, cell: ({ evaluations }) => (evaluations === budget ? whole(evaluations) : `${whole(evaluations)} of ${whole(budget)}`) },
    { title: `best ${titleOf(measure.name)}`, isNumber: true, cell: ({ best }) => valueOf(best) },
    { title: "time", isNumber: true, cell: ({ seconds }) => duration(seconds) },
  ];
  byId("searches-table").append(rowsTable(made, data.searches));
}

showHead(data.facts);
showTraces();
showLevels();
showSearches();
showSetup();
showNavigation();

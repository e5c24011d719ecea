// The page of runs side by side.

const AS_COLUMNS = 6;
const runs = data.runs;
const isWide = runs.length > AS_COLUMNS;

function swatch(i) {
  return el("i", { class: "swatch", style: `background:var(--part-${i % MAX_STYLES})` });
}

function runName(i) {
  const { name, link } = runs[i];
  return el("span", {}, isWide ? null : swatch(i), link ? el("a", { href: link }, ...breakable(name)) : el("span", {}, ...breakable(name)));
}

function valueCell({ is_number: isNumber, texts, intervals, best }, i) {
  const kind = [isNumber && isWide ? "number" : "text", best.includes(i) ? "best" : ""].join(" ").trim();
  return el("td", { class: kind, title: best.includes(i) ? "the best of these" : null }, texts[i], intervals[i] ? el("span", { class: "interval", text: intervals[i] }) : null);
}

// Values as rows and runs as columns; the other way round where runs are many.
function showResults() {
  byId("results-notes").append(...data.notes.map((text) => el("li", { text })));
  const about = [
    { name: "kind", texts: runs.map(({ kind }) => kind) },
    { name: "status", texts: runs.map(({ status }) => status) },
  ].filter(({ name, texts }) => name === "status" || new Set(texts).size > 1);
  const values = [...about.map((one) => ({ ...one, is_number: false, intervals: [], best: [] })), ...data.values];
  byId("results-table").append(
    isWide
      ? el(
          "table",
          { class: "rows" },
          el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "run" }), ...values.map(({ name, is_number: isNumber }) => el("th", { scope: "col", class: isNumber ? "number" : null, text: name })))),
          el("tbody", {}, ...runs.map((_, i) => el("tr", {}, el("th", { scope: "row", class: "run" }, runName(i)), ...values.map((one) => valueCell(one, i))))),
        )
      : transposed(values.map((one) => [one.name, runs.map((_, i) => valueCell(one, i))])),
  );
}

function transposed(rows) {
  const head = el("tr", {}, el("td"), ...runs.map((_, i) => el("th", { scope: "col", class: "run" }, runName(i))));
  const body = rows.map(([name, cells]) => el("tr", {}, el("th", { scope: "row" }, ...breakable(name)), ...cells));
  return el("table", { class: "rows" }, el("thead", {}, head), el("tbody", {}, ...body));
}

function showDifferences() {
  const holder = byId("differences-table");
  if (!data.differences.length) {
    holder.append(el("p", { class: "note", text: "Nothing: they were given the same settings." }));
    return;
  }
  holder.append(transposed(data.differences.map(({ name, texts }) => [name, texts.map((text) => el("td", { class: "setting" }, ...breakable(text)))])));
}

const FORMATS = {
  share: (value) => `${(100 * value).toFixed(2)} %`,
  count: (value) => compact(value),
  number: (value) => number(value),
};

function showCourses() {
  if (!data.courses.length) {
    byId("courses").hidden = true;
    return;
  }
  const clocks = data.courses.every(({ clock }) => clock);
  const { unit, clock } = data.courses[0];
  let isTimed = false;
  const show = () => {
    byId("courses-plots").replaceChildren(...data.courses.map((course) => courseFigure(course, isTimed)));
  };
  if (clocks) {
    const select = el("select", { "aria-label": "Across" }, el("option", { value: "", text: `${unit}s` }), el("option", { value: "time", text: clock }));
    byId("courses-controls").append(el("label", {}, "across ", select));
    select.addEventListener("change", () => {
      isTimed = select.value === "time";
      show();
    });
  }
  byId("courses-note").textContent = data.courses.some(({ lines }) => lines.some(({ low }) => low)) ? "Bands are intervals around the values." : "";
  byId("courses-legend").append(...runs.map(({ name }, i) => lineEntry(`line ${seriesOf(i)}`, name)));
  show();
}

function courseFigure({ name, unit, clock, form, better, lines }, isTimed) {
  const inPercent = form === "share";
  const shown = (values) => (values && inPercent ? values.map((value) => (value === null ? null : 100 * value)) : values);
  const drawnLines = lines.map(({ run, at, seconds, values, low, high, is_step: isStep }) => ({
    name: runs[run].name,
    style: run % MAX_STYLES,
    isThin: runs.length > AS_COLUMNS,
    at: isTimed ? seconds : at,
    values: shown(values),
    low: shown(low),
    high: shown(high),
    isStep,
  }));
  // A best value holds up to the end of its own run, not to that of the longest.
  lines.forEach(({ end, end_s: endS }, k) => {
    const last = isTimed ? endS : end;
    const line = drawnLines[k];
    if (line.isStep && last !== null && last > line.at[line.at.length - 1]) {
      line.at = [...line.at, last];
      line.values = [...line.values, line.values[line.values.length - 1]];
      for (const edge of ["low", "high"]) if (line[edge]) line[edge] = [...line[edge], line[edge][line[edge].length - 1]];
    }
  });
  const ends = drawnLines.flatMap(({ at }) => at[at.length - 1] ?? 0);
  return lineFigure({
    title: inPercent ? `${name}, %` : name,
    yHint: better ? (better === "max" ? "↑ better" : "↓ better") : undefined,
    x: isTimed ? clock : `${unit}s`,
    unit: isTimed ? "second" : unit,
    lines: drawnLines,
    last: Math.max(1, ...ends),
    isCount: form === "count",
    isLinear: name === "hypervolume",
    format: inPercent ? (value) => FORMATS.share(value / 100) : FORMATS[form] || FORMATS.number,
  });
}

function showNetworks() {
  if (!data.networks.length) {
    byId("best").hidden = true;
    return;
  }
  byId("best-title").textContent = "The architectures";
  const isSame = new Set(data.networks.map((_, point) => textOf(point))).size === 1 && data.networks.length > 1;
  byId("best-note").textContent = isSame
    ? "All are of the same architecture."
    : "What each search recommends or has found to be the best, or what was trained. Marked cells differ from the first one; ▴ and ▾ say whether they are larger or smaller.";
  const cards = isSame ? [card(0, "of all", 0)] : data.networks.map((_, point) => card(point, runs[data.networks[point]].name, 0));
  byId("best-list").append(...cards);
  if (points.stages) byId("best-legend").append(...pictureLegend(), el("span", { text: "one scale for all" }));
  else byId("best-legend").remove();
}

byId("setup-title").textContent = "What is the same";
showHead(data.facts);
showResults();
showDifferences();
showCourses();
showFronts();
showNetworks();
showSetup();
showNavigation();

// Lines over one axis, such as epochs, steps or calls, with a cursor that reads their values.

const MAX_STYLES = 6;

// A figure with lines.
//   title, x, yHint      texts of the caption, below the plot, and above it
//   lines                [{name, style, at, values, isStep, isThin, low, high, end, best}]: style 0 to 5 or a class; low
//                        and high are the edges of a band around it, end a mark on its last value, best the position
//                        of its best one
//   bands, levels        [{from, to, labels, hint}] behind the lines, the first label that fits; [{value, label}] across
//   last, isCount, low   the largest value across, whether values up are counts, and where the axis up begins
//   format, unit         how values are written; what one position across is called, such as "epoch"
//   height, group        a share of the width; figures whose cursors move together
function lineFigure(spec) {
  const plot = el("div", { class: "plot", tabindex: "0", role: "group", "aria-label": `${spec.title}; arrow keys move the cursor` });
  const reading = el("span", { class: "reading" });
  const shown = spec.lines.filter(({ values }) => values.some((value) => value !== null));
  const places = [...new Set(shown.filter(({ isThin }) => !isThin).flatMap(({ at }) => at))].sort((a, b) => a - b);
  const state = { place: null, move: () => {} };
  const point = (place) => {
    state.place = place;
    state.move();
    reading.replaceChildren(...readings(spec, shown, place));
  };
  const group = spec.group || [];
  group.push(point);
  const pointAll = (place) => group.forEach((other) => other(place));
  drawn(plot, (width) => drawLines(plot, width, spec, shown, places, state));
  plot.addEventListener("pointermove", (event) => {
    if (state.across) pointAll(nearestPlace(places, state.across(event.clientX - plot.getBoundingClientRect().left)));
  });
  plot.addEventListener("pointerleave", () => pointAll(null));
  plot.addEventListener("blur", () => pointAll(null));
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !places.length) return;
    const at = state.place === null ? (step > 0 ? -1 : places.length) : places.indexOf(state.place);
    pointAll(places[Math.min(places.length - 1, Math.max(0, at + step))]);
    event.preventDefault();
  });
  point(null);
  return el("figure", {}, el("figcaption", { class: "read" }, el("strong", { text: spec.title }), " ", reading), plot);
}

function nearestPlace(places, value) {
  return places.reduce((best, place) => (best === null || Math.abs(place - value) < Math.abs(best - value) ? place : best), null);
}

function styleOf(line) {
  return typeof line.style === "number" ? `series-${line.style % MAX_STYLES}` : line.style;
}

// The value of a line at a position: the last one before it where the line has steps.
function valueAt({ at, values, isStep }, place) {
  if (!isStep) return at.includes(place) ? values[at.indexOf(place)] : null;
  let i = -1;
  while (i + 1 < at.length && at[i + 1] <= place) i++;
  return i < 0 ? null : values[i];
}

// What the cursor reads, or the last values; names and colours serve as the legend.
function readings(spec, lines, place) {
  const named = lines.filter(({ isThin }) => !isThin);
  const format = spec.format || ((value) => number(value));
  const entries = named.map((line) => {
    const last = line.values.reduce((found, value, i) => (value === null ? found : i), -1);
    const value = place !== null ? valueAt(line, place) : last < 0 ? null : line.values[last];
    const until = place === null && last >= 0 && last < line.at.length - 1 ? ` until ${spec.unit} ${whole(line.at[last])}` : "";
    const text = `${named.length > 1 ? `${line.name}: ` : ""}${value === null ? "–" : format(value)}${until}`;
    return named.length > 1 ? lineEntry(`line ${styleOf(line)}`, text) : el("span", { text });
  });
  return place === null ? entries : [el("span", { text: `${spec.unit} ${whole(place)}:` }), ...entries];
}

function drawLines(plot, width, spec, lines, places, state) {
  const bands = spec.bands || [], levels = spec.levels || [];
  const height = Math.max(200, Math.min(420, Math.round(width * (spec.height || 0.46))));
  const values = lines.flatMap((line) => [...line.values, ...(line.low || []), ...(line.high || [])]);
  const yAxis = axisOf([...values, ...levels.map(({ value }) => value), spec.low ?? null], height - 64, { isCount: spec.isCount, spacing: 36, isLinear: spec.isLinear, low: spec.low });
  // The caption says what goes up, so the axis says no more than its unit.
  const yTitle = [yAxis.suffix.replace(/^[ ,]+|[()]/g, "").replace(/^10/, "× 10"), spec.yHint].filter(Boolean).join(" ");
  const margin = { left: leftMargin(yAxis), right: 12, top: (yTitle ? 24 : 12) + (bands.length ? 15 : 0), bottom: 40 };
  const last = Math.max(spec.last ?? 1, ...lines.map(({ at }) => at[at.length - 1] ?? 0));
  const xAxis = axisOf([0, last], width - margin.left - margin.right, { isCount: true, isLinear: true, isTight: true, spacing: 56 });
  const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": spec.title });
  const { px, py, inner } = axes(picture, width, height, margin, xAxis, { ...yAxis, suffix: "" }, { x: spec.x, y: yTitle });
  picture.prepend(...bands.flatMap((band, i) => bandShapes(band, i, px, inner)));
  levels.forEach(({ value, label }, i) => {
    const at = py(value);
    // From both ends in turn, so that two levels that are close can be told apart.
    const [x, anchor] = i % 2 ? [inner.right - 4, "end"] : [inner.left + 4, "start"];
    picture.append(
      svg("line", { class: "level", x1: inner.left, x2: inner.right, y1: at, y2: at }),
      svg("text", { class: "level-label", x, y: at - 4, "text-anchor": anchor, text: label }),
    );
  });
  for (const line of lines) if (line.low) picture.append(svg("path", { class: `spread ${styleOf(line)}`, d: spreadPath(line, px, py, last) }));
  const ordered = [...lines.filter(({ isThin }) => isThin), ...lines.filter(({ isThin }) => !isThin)];
  for (const line of ordered) {
    const style = `line ${styleOf(line)}${line.isThin ? " thin" : ""}`;
    picture.append(svg("path", { class: style, d: linePath(line, px, py, last), "data-line": line.name }));
    const known = line.at.map((at, i) => [at, line.values[i]]).filter(([, value]) => value !== null);
    if (!line.isThin && known.length === 1) picture.append(svg("path", { class: `dot ${styleOf(line)}`, d: symbol("circle", px(known[0][0]), py(known[0][1]), 3.2) }));
    const best = known.find(([at]) => at === line.best);
    if (best) picture.append(svg("path", { class: "mark best", d: symbol("diamond", px(best[0]), py(best[1]), 4.4) }, svg("title", { text: `best ${spec.unit}: ${whole(best[0])}` })));
    if (line.end && known.length) {
      const [at, value] = known[known.length - 1];
      picture.append(svg("path", { class: `mark ${line.end.name}`, d: symbol(line.end.shape, px(at), py(value), line.end.shape === "circle" ? 3 : 3.6) }));
    }
  }
  const cursor = svg("line", { class: "cursor", y1: inner.top, y2: inner.bottom });
  const dots = svg("g", {});
  picture.append(cursor, dots);
  state.across = (left) => ((left - inner.left) / (inner.right - inner.left)) * last;
  state.move = () => {
    cursor.setAttribute("class", state.place === null ? "cursor" : "cursor on");
    dots.replaceChildren();
    if (state.place === null) return;
    cursor.setAttribute("x1", px(state.place));
    cursor.setAttribute("x2", px(state.place));
    for (const line of lines) {
      const value = line.isThin ? null : valueAt(line, state.place);
      if (value !== null) dots.append(svg("path", { class: `dot ${styleOf(line)}`, d: symbol("circle", px(state.place), py(value), 3.2) }));
    }
  };
  state.move();
  plot.replaceChildren(picture);
  plot.style.height = `${height}px`;
}

// A stretch of the axis across with its name on top.
function bandShapes({ from, to, labels, hint }, i, px, inner) {
  const [left, right] = [px(from), px(to)];
  const shapes = [svg("rect", { class: `stretch ${i % 2 ? "odd" : ""}`, x: left, y: inner.top, width: Math.max(0, right - left), height: inner.bottom - inner.top }, hint ? svg("title", { text: hint }) : null)];
  const label = labels.find((text) => text.length * 6.2 + 6 <= right - left);
  if (label) shapes.push(svg("text", { class: "stretch-label", x: (left + right) / 2, y: inner.top - 5, "text-anchor": "middle", text: label }));
  return shapes;
}

// Gaps stay gaps; a line with steps holds its value up to the next one, the last one up to the end.
function linePath({ at, values, isStep, isHeld }, px, py, last) {
  let path = "", isOpen = false;
  at.forEach((place, i) => {
    if (values[i] === null) {
      isOpen = false;
      return;
    }
    const [x, y] = [px(place).toFixed(1), py(values[i]).toFixed(1)];
    path += !isOpen ? `M${x},${y} ` : isStep ? `H${x} V${y} ` : `L${x},${y} `;
    isOpen = true;
  });
  return isStep && isHeld && isOpen ? `${path}H${px(last).toFixed(1)}` : path;
}

// Between the edges of a line; where one edge is unknown there is no band.
function spreadPath({ at, low, high, isStep, isHeld }, px, py, last) {
  let path = "";
  if (!isStep) {
    for (let i = 0; i + 1 < at.length; i++) {
      const corners = [[i, low], [i + 1, low], [i + 1, high], [i, high]];
      if (corners.every(([k, edge]) => edge[k] !== null)) path += `M${corners.map(([k, edge]) => `${px(at[k]).toFixed(1)},${py(edge[k]).toFixed(1)}`).join(" L")} Z `;
    }
    return path;
  }
  at.forEach((place, i) => {
    if (low[i] === null || high[i] === null) return;
    const end = i + 1 < at.length ? at[i + 1] : isHeld ? last : place;
    path += `M${px(place).toFixed(1)},${py(low[i]).toFixed(1)} H${px(end).toFixed(1)} V${py(high[i]).toFixed(1)} H${px(place).toFixed(1)} Z `;
  });
  return path;
}

// A table; columns are {title, isNumber, cell}, where cell(row, i) gives a text or nodes.
function rowsTable(columns, rows, rowOf = () => ({})) {
  const head = columns.map(({ title, isNumber }) => el("th", { scope: "col", class: isNumber ? "number" : null }, ...breakable(title)));
  const body = rows.map((row, i) =>
    el("tr", rowOf(row, i), ...columns.map(({ isNumber, cell: made }) => el("td", { class: isNumber ? "number" : null }, made(row, i)))),
  );
  return el("table", { class: "rows" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body));
}

// A genotype with its copy button, on one line if it is short.
function genotype(text) {
  const code = text.length > 60 ? el("code", { class: "long" }, ...breakable(text)) : el("code", { text });
  return el("span", { class: "genotype" }, code, " ", copyButton(text));
}

// The report of a run in a folder beside this page, named by its parts; the name alone where there is none.
function folderLink(folder, hasReport, text) {
  if (!hasReport) return el("span", { text });
  return el("a", { href: `./${folder.split("/").map(encodeURIComponent).join("/")}/report.html`, text });
}

// Parallel coordinates: a line for each architecture across its fields and scores, coloured by the first objective.

const AXIS_ROOM = 92, STEPS = 20;

// What a field comes to on its axis: itself, or the mean of its numbers, those of absent blocks left out.
function onAxis(value) {
  if (!Array.isArray(value)) return value;
  const numbers = value.flat().filter((item) => typeof item === "number" && item !== 0);
  return numbers.length ? numbers.reduce((sum, item) => sum + item, 0) / numbers.length : null;
}

// An axis: its title, a place from 0 (bottom) to 1 for each point or null, ticks, the step by which keys move along it,
// what value is at a place, where a value is (null if it is not there), and how it is written.
function axisOfField(name) {
  const raw = points.fields.map((numbers) => {
    const entry = numbers.map((number) => points.field_table[number]).find(([field]) => field === name);
    return entry ? entry[1] : null;
  });
  const isList = raw.some(Array.isArray);
  const values = raw.map(onAxis);
  const known = [...new Set(values.filter((value) => value !== null))];
  if (known.length < 2) return null;
  const isNumber = known.every((value) => typeof value === "number");
  known.sort(isNumber ? (a, b) => a - b : undefined);
  const title = isList ? `${name}, mean` : name;
  if (known.length <= 12 && !isList) {
    const place = new Map(known.map((value, i) => [value, i / (known.length - 1)]));
    const valueAt = (at, rounded = Math.round) => known[Math.min(known.length - 1, Math.max(0, rounded(Number((at * (known.length - 1)).toFixed(6)))))];
    return { title, at: values.map((value) => place.get(value) ?? null), ticks: known.map((value) => [place.get(value), String(value)]), step: 1 / (known.length - 1), valueAt, placeOf: (value) => place.get(value) ?? null, label: String };
  }
  if (!isNumber) return null;
  return linearAxis(title, values);
}

function linearAxis(title, values) {
  const known = values.filter((value) => value !== null);
  const [low, high] = [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))];
  if (low === high) return null;
  const isLog = low > 0 && high / low >= 50;
  const scaled = (value) => (isLog ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const middle = isLog ? Math.sqrt(low * high) : (low + high) / 2;
  const label = (value) => (Math.abs(value) >= 1e4 ? compact(value) : trimmed(number(value, 3)));
  const valueAt = (at) => (isLog ? low * (high / low) ** at : low + at * (high - low));
  return { title, at: values.map((value) => (value === null ? null : scaled(value))), ticks: [low, middle, high].map((value) => [scaled(value), label(value)]), step: 1 / STEPS, valueAt, placeOf: scaled, label };
}

function showParallel() {
  const names = [...new Set(points.field_table.map(([name]) => name))];
  const fields = names.map(axisOfField).filter(Boolean);
  const scores = data.scores
    .filter(({ name, is_objective: isObjective, is_cost: isCost }) => isObjective || isCost)
    .map(({ name }) => [name, linearAxisOrNull(name)])
    .filter(([, axis]) => axis);
  const first = data.objectives.find(({ name }) => scores.some(([known]) => known === name));
  if (!first || fields.length < 2) {
    byId("parallel").hidden = true;
    return;
  }
  const colouring = scores.find(([name]) => name === first.name)[1];
  const state = { axes: [...fields, ...scores.map(([, axis]) => axis)], brushes: new Map(), chosen: null, focused: 0 };
  const lines = [...Array(size).keys()].filter((point) => colouring.at[point] !== null);
  // The best ones come last, and so lie above the others.
  state.rank = new Map(lines.sort((a, b) => (first.maximize ? 1 : -1) * (colouring.at[a] - colouring.at[b])).map((point, i) => [point, lines.length > 1 ? i / (lines.length - 1) : 1]));
  state.lines = lines;
  const sample = size < data.total ? `${whole(size)} of ${whole(data.total)} architectures are on this page. ` : "";
  byId("parallel-note").append(
    `${sample}Each line is one architecture, by its rank in ${titleOf(first.name)}: worst `,
    el("i", { class: "ramp", "aria-hidden": "true" }),
    " best. Of lists, the mean is shown. ",
    el("span", { id: "parallel-wide", text: "Scroll sideways for the other axes. " }),
    "Point at a line to see which it is; drag along an axis to keep what passes there, and click the axis to let it go. ",
    "By keys, left and right move between axes; up and down narrow what is kept, and with Shift widen it; Page Down reads the lines that pass, the best first; Delete lets an axis go.",
  );
  const holder = byId("parallel-plot");
  holder.style.minWidth = `${Math.min(state.axes.length, 14) * AXIS_ROOM * 0.75}px`;
  const reset = el("button", { type: "button", text: "show all", hidden: true });
  byId("parallel-controls").append(reset);
  state.reset = reset;
  state.again = drawn(holder, (width) => drawParallel(holder, width, state));
  reset.addEventListener("click", () => {
    state.brushes.clear();
    state.again();
  });
  remember("parallel", () => (state.brushes.size ? keptRanges(state) : null), (ranges) => {
    keepRanges(state, ranges);
    state.again();
  });
  holder.addEventListener("keydown", (event) => {
    const axis = event.target.closest(".axis-zone");
    if (axis && pressed(holder, state, Number(axis.dataset.axis), event)) event.preventDefault();
  });
  holder.addEventListener("focusin", ({ target }) => {
    if (!target.dataset.axis) return;
    state.focused = Number(target.dataset.axis);
    for (const zone of holder.querySelectorAll(".axis-zone")) zone.setAttribute("tabindex", zone === target ? "0" : "-1");
  });
  holder.addEventListener("pointermove", (event) => choosesLine(holder, state, event));
  holder.addEventListener("pointerleave", () => showLine(state, null));
}

function linearAxisOrNull(name) {
  const values = columns.get(name).values;
  return values.some((value) => value !== null) ? linearAxis(titleOf(name), values) : null;
}

function passes(state, point) {
  return [...state.brushes].every(([i, [low, high]]) => {
    const at = state.axes[i].at[point];
    return at !== null && at >= low - 1e-9 && at <= high + 1e-9;
  });
}

function drawParallel(holder, width, state) {
  const height = 330, top = 44, bottom = height - 14;
  const room = width / state.axes.length;
  state.px = (i) => room * (i + 0.5);
  state.py = (at) => bottom - at * (bottom - top);
  const canvas = el("canvas", { "aria-hidden": "true" });
  const ratio = window.devicePixelRatio || 1;
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const shown = state.lines.filter((point) => passes(state, point));
  const kept = new Set(shown);
  context.globalAlpha = 0.12;
  context.strokeStyle = colour("idle");
  for (const point of state.lines) if (!kept.has(point)) strokeLine(context, state, point);
  const ramp = ["band-1", "band-3", "best"].map(colour);
  context.globalAlpha = shown.length > 1500 ? 0.18 : shown.length > 300 ? 0.35 : shown.length > 60 ? 0.6 : 0.9;
  for (const point of shown) {
    const rank = state.rank.get(point);
    context.strokeStyle = rank >= 0.95 ? ramp[2] : mixed(ramp, rank);
    strokeLine(context, state, point);
  }
  const picture = svg("svg", { width, height, class: "chart", role: "group", "aria-label": `Parallel coordinates of ${plural(shown.length, "architecture", "architectures")}: ${state.axes.map(({ title }) => title).join(", ")}` });
  state.axes.forEach((axis, i) => picture.append(...axisMarks(axis, i, room, state, top, bottom, height)));
  state.overlay = svg("path", { class: "marker pinned", d: "" });
  picture.append(state.overlay);
  const hadFocus = holder.contains(document.activeElement);
  holder.replaceChildren(canvas, picture);
  holder.style.height = `${height}px`;
  [state.shown, state.chosen] = [shown, null];
  byId("parallel-wide").hidden = holder.clientWidth <= holder.parentElement.clientWidth;
  state.reset.hidden = !state.brushes.size;
  picture.querySelectorAll(".axis-zone").forEach((zone) => brushing(zone, holder, state));
  if (hadFocus) zoneOf(holder, state.focused).focus({ preventScroll: true });
  byId("parallel-chosen").textContent = state.brushes.size ? `${whole(shown.length)} of ${plural(state.lines.length, "line passes", "lines pass")}.` : "";
}

function axisMarks(axis, i, room, state, top, bottom) {
  const x = state.px(i);
  const letters = Math.max(3, Math.floor(room / 6.8));
  const title = axis.title.length > letters ? `${axis.title.slice(0, letters - 1)}…` : axis.title;
  const marks = [
    svg("line", { class: "axis-line", x1: x, x2: x, y1: top, y2: bottom }),
    // Every other name stands higher, so that long ones have room.
    svg("text", { class: "axis-name", x, y: i % 2 ? 13 : 29, "text-anchor": "middle" }, title, svg("title", { text: axis.title })),
  ];
  let free = Infinity;
  for (const [at, label] of axis.ticks) {
    const y = state.py(at);
    if (free - y < 14) continue;
    free = y;
    const cut = label.length > letters - 2 ? `${label.slice(0, Math.max(1, letters - 3))}…` : label;
    marks.push(svg("line", { class: "notch", x1: x - 3, x2: x + 3, y1: y, y2: y }), svg("text", { class: "tick", x: x + 5, y: y + 4, text: cut }));
  }
  const brush = state.brushes.get(i);
  if (brush) marks.push(svg("rect", { class: "brushed", x: x - 6, width: 12, y: state.py(brush[1]) - 2, height: state.py(brush[0]) - state.py(brush[1]) + 4 }));
  marks.push(svg("rect", { ...zoneAttributes(axis, i, state), x: x - 9, width: 18, y: top - 6, height: bottom - top + 12 }));
  return marks;
}

// An axis to the keyboard and to what reads the page aloud: a slider, whose value is what is kept.
function zoneAttributes(axis, i, state) {
  const [low, high] = state.brushes.get(i) || [0, 1];
  const text = state.brushes.has(i) ? `${axis.label(axis.valueAt(low))} to ${axis.label(axis.valueAt(high))}` : "all";
  return { class: "axis-zone", "data-axis": i, tabindex: i === state.focused ? "0" : "-1", role: "slider", "aria-orientation": "vertical", "aria-label": axis.title, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * low), "aria-valuetext": text };
}

function zoneOf(holder, i) {
  return holder.querySelector(`.axis-zone[data-axis="${i}"]`);
}

// What a key does on an axis; whether it does anything.
function pressed(holder, state, i, { key, shiftKey: isWidened }) {
  const { step } = state.axes[i];
  const across = { ArrowLeft: -1, ArrowRight: 1 }[key], up = { ArrowDown: -1, ArrowUp: 1 }[key], on = { PageUp: 1, PageDown: -1 }[key];
  if (across) zoneOf(holder, Math.min(state.axes.length - 1, Math.max(0, i + across))).focus();
  else if (up) {
    let [low, high] = state.brushes.get(i) || [0, 1];
    // Up raises the lower end and down lowers the upper one; with Shift, each moves the other end away.
    if ((up > 0) !== isWidened) low = Math.min(high, Math.max(0, low + up * step));
    else high = Math.max(low, Math.min(1, high + up * step));
    if (low < step / 2 && high > 1 - step / 2) state.brushes.delete(i);
    else state.brushes.set(i, [low, high]);
    state.again();
  } else if (key === "Delete" || key === "Backspace") {
    state.brushes.delete(i);
    state.again();
  } else if (on && state.shown.length) {
    const at = state.shown.indexOf(state.chosen);
    showLine(state, state.shown[at < 0 ? state.shown.length - 1 : Math.min(state.shown.length - 1, Math.max(0, at + on))]);
  } else return false;
  return true;
}

// What is kept on each axis, by values: the same places are others once an axis is longer. An end that is open stays so.
function keptRanges(state) {
  return [...state.brushes].map(([i, [low, high]]) => {
    const { title, valueAt } = state.axes[i];
    return [title, low <= 0 ? null : valueAt(low, Math.ceil), high >= 1 ? null : valueAt(high, Math.floor)];
  });
}

function keepRanges(state, ranges) {
  for (const [title, from, to] of ranges) {
    const i = state.axes.findIndex((axis) => axis.title === title);
    if (i < 0) continue;
    const [low, high] = [from === null ? 0 : state.axes[i].placeOf(from), to === null ? 1 : state.axes[i].placeOf(to)];
    if (low !== null && high !== null) state.brushes.set(i, [low, high]);
  }
}

function strokeLine(context, state, point) {
  context.beginPath();
  pathOf(state, point).forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

// A line leaves out axes on which its architecture has no value.
function pathOf(state, point) {
  return state.axes.map(({ at }, i) => [state.px(i), at[point]]).filter(([, at]) => at !== null).map(([x, at]) => [x, state.py(at)]);
}

function mixed(ramp, rank) {
  return `color-mix(in srgb, ${ramp[0]} ${Math.round(100 * (1 - rank))}%, ${ramp[1]})`;
}

// Dragging along an axis keeps what passes between both ends; a click lets the axis go.
function brushing(zone, holder, state) {
  const axis = Number(zone.dataset.axis);
  zone.addEventListener("pointerdown", (event) => {
    const of = (y) => Math.min(1, Math.max(0, (state.py(0) - (y - holder.getBoundingClientRect().top)) / (state.py(0) - state.py(1))));
    const start = event.clientY;
    zone.setPointerCapture(event.pointerId);
    zone.addEventListener("pointerup", (end) => {
      const [a, b] = [of(start), of(end.clientY)];
      if (Math.abs(end.clientY - start) < 4) state.brushes.delete(axis);
      else state.brushes.set(axis, [Math.min(a, b), Math.max(a, b)]);
      state.again();
    }, { once: true });
  });
}

function choosesLine(holder, state, event) {
  const bounds = holder.getBoundingClientRect();
  const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
  let found = null, least = 8;
  for (const point of state.shown || []) {
    const path = pathOf(state, point);
    const next = path.findIndex(([right]) => right >= x);
    if (next < 1) continue;
    const [[x0, y0], [x1, y1]] = [path[next - 1], path[next]];
    const distance = Math.abs(y0 + ((y1 - y0) * (x - x0)) / (x1 - x0) - y);
    if (distance <= least) [least, found] = [distance, point];  // of equal ones the best, which is drawn last
  }
  showLine(state, found);
}

function showLine(state, point) {
  if (point === state.chosen) return;
  state.chosen = point;
  state.overlay.setAttribute("d", point === null ? "" : `M${pathOf(state, point).map((spot) => spot.join(",")).join(" L")}`);
  if (point === null) return;
  const values = data.scores.map(({ name }) => kept(`${titleOf(name)} ${shownValue(name, columns.get(name).values[point])}`));
  byId("parallel-chosen").replaceChildren(el("code", {}, ...breakable(textOf(point))), ` ${values.join(", ")}`);
}

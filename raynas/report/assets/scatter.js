// Any score against any other; the mouse or the arrow keys choose a point, a click or Enter keeps it.

const LANE = 26;

function showScatter() {
  const usable = [...columns.values()].filter(({ values }) => values && values.some((value) => value !== null));
  if (!size || !data.scores.some(({ name }) => points.values[name].some((value) => value !== null))) {
    byId("scatter").hidden = true;
    return;
  }
  const names = usable.map(({ name }) => name);
  const objectives = data.objectives.map(({ name }) => name).filter((name) => names.includes(name));
  const upNames = names.filter((name) => name !== CANDIDATE);
  const startY = [...objectives, ...names].find((name) => columns.get(name).is_cost === false) || upNames[0];
  const startX = [...objectives, "macs", "num_params", CANDIDATE].find((name) => names.includes(name) && name !== startY);
  const select = (label, options, start) => {
    const node = el("select", { "aria-label": label }, ...options.map((name) => el("option", { value: name, text: titleOf(name), selected: name === start })));
    byId("scatter-controls").append(el("label", {}, `${label} `, node));
    node.addEventListener("change", () => again());
    return node;
  };
  const y = select("up", upNames, startY);
  const x = select("across", names, startX);

  const holder = byId("scatter-plot");
  const state = { chosen: null, pinned: null, spots: [], order: [] };
  let again = () => {};
  const choose = (point) => {
    if (point === state.chosen) return;
    state.chosen = point;
    showPanel(state);
    mark(state);
  };
  again = drawn(holder, (width) => drawScatter(holder, width, x.value, y.value, state));

  holder.addEventListener("pointermove", (event) => {
    const point = nearest(state, event, holder);
    if (state.pinned === null && point !== null) choose(point);
  });
  holder.addEventListener("click", (event) => {
    const point = nearest(state, event, holder);
    state.pinned = point === null || point === state.pinned ? null : point;
    state.chosen = null;
    choose(point === null ? firstShown() : point);
  });
  holder.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 10, ArrowDown: -10 }[event.key];
    if (step) {
      const at = Math.max(0, state.order.indexOf(state.chosen));
      state.pinned = null;
      choose(state.order[Math.min(state.order.length - 1, Math.max(0, at + step))]);
    } else if (event.key === "Enter" || event.key === " ") {
      state.pinned = state.pinned === state.chosen ? null : state.chosen;
      showPanel(state);
      mark(state);
    } else if (event.key === "Escape") {
      state.pinned = null;
      showPanel(state);
      mark(state);
    } else return;
    event.preventDefault();
  });
  choose(firstShown());
  remember("scatter", () => (state.chosen === firstShown() && state.pinned === null ? null : [textOf(state.chosen), state.pinned !== null]), ([text, isPinned]) => {
    const point = pointOf(text);
    if (point === null) return;
    [state.chosen, state.pinned] = [null, isPinned ? point : null];
    choose(point);
  });
}

function firstShown() {
  return data.rankings.length ? data.rankings[0].members[0] : 0;
}

function showPanel({ chosen, pinned }) {
  const reference = firstShown();
  const panel = byId("scatter-panel");
  const label = chosen === reference && data.rankings.length ? (data.front_size ? "1 on the front" : "#1") : chosen === data.recommended ? "Recommended" : "Chosen";
  const shown = card(chosen, pinned === chosen ? `${label}, kept` : label, reference, "div");
  const hint = pinned === chosen ? "Click it again to let it go." : "Point at a mark, or use the arrow keys; a click or Enter keeps it here.";
  panel.replaceChildren(shown, el("p", { class: "hint", text: hint }));
}

function drawScatter(holder, width, xName, yName, state) {
  const x = columns.get(xName), y = columns.get(yName);
  const all = [...Array(size).keys()].filter((point) => x.values[point] !== null);
  const valued = all.filter((point) => y.values[point] !== null);
  const lacking = all.filter((point) => y.values[point] === null);
  const lane = lacking.length ? LANE : 0;
  const height = Math.max(300, Math.min(460, Math.round(width * 0.62))) + lane;
  const marginTop = 24, marginBottom = 40 + lane;
  const yAxis = axisOf(valued.map((point) => y.values[point]), height - marginTop - marginBottom, { isCount: y.isCount, spacing: 44 });
  const margin = { left: leftMargin(yAxis), right: 12, top: marginTop, bottom: marginBottom };
  const xAxis = axisOf(all.map((point) => x.values[point]), width - margin.left - margin.right, { isCount: x.isCount, spacing: 64, isLinear: x.isPlain });
  const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": `${titleOf(yName)} against ${titleOf(xName)}` });
  const arrow = (column, up, down) => (column.maximize === undefined ? "" : column.maximize ? up : down);
  const { px, py, inner } = axes(picture, width, height, margin, xAxis, yAxis, {
    x: titleOf(xName),
    y: titleOf(yName),
    xHint: arrow(x, " → better", " ← better"),
    yHint: arrow(y, " ↑ better", " ↓ better"),
  });
  // The title of the axis across is below the lane, the ticks are above it.
  const laneY = inner.bottom + 27 + LANE / 2 - 4;
  state.spots = [];
  for (const point of valued) state.spots.push([px(x.values[point]), py(y.values[point]), point]);
  for (const point of lacking) state.spots.push([px(x.values[point]), laneY, point]);
  state.order = [...state.spots].sort((a, b) => a[0] - b[0] || b[1] - a[1]).map((spot) => spot[2]);

  const canvas = el("canvas", { "aria-hidden": "true" });
  paint(canvas, width, height, state.spots, laneY);
  const front = frontOf(valued, x, y);
  const overlay = svg("svg", { width, height, class: "chart overlay", "aria-hidden": "true" });
  if (front.length > 1) {
    const steps = front.map((point) => [px(x.values[point]), py(y.values[point])]);
    let path = `M${steps[0]}`;
    // Between two points of the front, nothing better than the worse of both is known.
    for (const [across, up] of steps.slice(1)) path += ` H${across} V${up}`;
    overlay.append(svg("path", { class: "front-line", d: path }));
  }
  const special = new Set(data.rankings.length ? (data.rankings[0].name === "" ? data.rankings[0].members : data.rankings[0].members.slice(0, 1)) : []);
  const marks = state.spots.filter(([, , point]) => special.has(point)).map(([left, top]) => symbol("circle", left, top, 4.2)).join(" ");
  if (marks) overlay.append(svg("path", { class: "mark best", d: marks }));
  const recommended = state.spots.find(([, , point]) => point === data.recommended);
  if (recommended) overlay.append(svg("path", { class: "mark recommended", d: symbol("square", recommended[0], recommended[1], 5.5) }));
  if (lane) overlay.append(svg("text", { class: "lane", x: inner.left - 6, y: laneY + 4, "text-anchor": "end", text: "none" }));
  state.marker = svg("path", { class: "marker", d: "" });
  overlay.append(state.marker);
  holder.replaceChildren(picture, canvas, overlay);
  holder.style.height = `${height}px`;
  holder.setAttribute("tabindex", "0");
  holder.setAttribute("role", "application");
  holder.setAttribute("aria-label", `Scatter plot of ${titleOf(yName)} against ${titleOf(xName)}; arrow keys move between architectures`);
  mark(state);
  describeScatter(front, lacking, all, x, y);
}

function paint(canvas, width, height, spots, laneY) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const r = spots.length > 1500 ? 2 : spots.length > 300 ? 2.7 : 3.5;
  const path = [OK, INFEASIBLE, FAILED, PENDING].map(() => new Path2D());
  for (const [left, top, point] of spots) {
    const isNone = top === laneY;
    const kind = points.state[point] === OK && isNone ? FAILED : points.state[point];
    path[kind].addPath(new Path2D(symbol(["circle", "diamond", "cross", "circle"][kind], left, top, kind === FAILED ? Math.max(2.4, r * 0.9) : r)));
  }
  context.lineWidth = 1.2;
  context.globalAlpha = 0.75;
  context.strokeStyle = colour("infeasible");
  context.stroke(path[INFEASIBLE]);
  context.strokeStyle = colour("failed");
  context.stroke(path[FAILED]);
  context.strokeStyle = colour("point");
  context.stroke(path[PENDING]);
  context.globalAlpha = spots.length > 1500 ? 0.45 : 0.65;
  context.fillStyle = colour("point");
  context.fill(path[OK]);
}

// Points that no other shown point beats on both axes; none where an axis has no direction.
function frontOf(candidates, x, y) {
  if (x.maximize === undefined || y.maximize === undefined || x === y) return [];
  const [signX, signY] = [x.maximize ? -1 : 1, y.maximize ? -1 : 1];
  const sorted = candidates
    .filter((point) => points.state[point] === OK)
    .sort((a, b) => signX * (x.values[a] - x.values[b]) || signY * (y.values[a] - y.values[b]));
  const front = [];
  let best = Infinity;
  for (const point of sorted) {
    if (signY * y.values[point] < best) {
      best = signY * y.values[point];
      front.push(point);
    }
  }
  return front;
}

function describeScatter(front, lacking, all, x, y) {
  const entries = all.some((point) => points.state[point] === OK) ? [legendEntry("circle", "point", "scored")] : [];
  if (all.some((point) => points.state[point] === INFEASIBLE)) entries.push(legendEntry("diamond", "infeasible", "infeasible: breaks a constraint"));
  const isFailure = (point) => points.state[point] === FAILED || (points.state[point] === OK && y.values[point] === null);
  if (all.some(isFailure)) entries.push(legendEntry("cross", "failed", `failed, or no ${titleOf(y.name)}`));
  if (all.some((point) => points.state[point] === PENDING)) entries.push(legendEntry("circle", "pending", "not scored yet"));
  if (data.rankings.length) entries.push(legendEntry("circle", "best", data.rankings[0].name === "" ? "on the front of all objectives" : data.rankings[0].label));
  if (data.recommended !== null) entries.push(legendEntry("square", "recommended", "recommended"));
  if (front.length > 1) entries.push(lineEntry("front-line", `front of these two (${front.length})`));
  byId("scatter-legend").replaceChildren(...entries);
  const sample = size < data.total ? `${whole(size)} of ${whole(data.total)} architectures are on this page: the best, all fronts, and a fixed random sample of the others. ` : "";
  const left = size - all.length;
  const without = left ? ` ${plural(left, "has", "have")} no ${titleOf(x.name)} and no place in this picture; across MACs they have.` : "";
  byId("scatter-note").textContent = `${sample}Each mark is one ${data.noun ? data.noun[0] : "architecture"}.${without}`;
}

function nearest(state, event, holder) {
  const bounds = holder.getBoundingClientRect();
  const [left, top] = [event.clientX - bounds.left, event.clientY - bounds.top];
  let found = null, least = 30 ** 2;
  for (const [x, y, point] of state.spots) {
    const distance = (x - left) ** 2 + (y - top) ** 2;
    if (distance < least) [least, found] = [distance, point];
  }
  return found;
}

function mark(state) {
  const spot = state.spots.find(([, , point]) => point === state.chosen);
  if (!state.marker) return;
  state.marker.setAttribute("d", spot ? symbol("circle", spot[0], spot[1], 7.5) : "");
  state.marker.setAttribute("class", state.pinned === state.chosen ? "marker pinned" : "marker");
}

// A family's growth: pictures of its members, and what each step chose from.

function showGrowth() {
  const family = data.growth.members;
  const state = { step: family.length - 1, marks: [] };
  const choose = (step) => {
    state.step = step;
    for (const mark of state.marks) mark(step);
  };
  showTowers(family, state, choose);
  showGrowthLines(family);
  showSteps(family, state, choose);
  showFamily(family, state, choose);
  choose(state.step);
}

function arrowed(change) {
  return change.replaceAll(" -> ", " → ");
}

function showTowers(family, state, choose) {
  const last = family[family.length - 1];
  byId("growth-note").textContent =
    family.length > 1
      ? `Each step adds a block to one stage and widens all of them; what it chose is the next member. The last change was ${arrowed(last.change)}.`
      : "Only the start is known so far.";
  const holder = byId("growth-towers");
  if (!stagesOf(last)) {
    holder.remove();
    byId("growth-legend").remove();
    return;
  }
  holder.setAttribute("tabindex", "0");
  holder.setAttribute("role", "group");
  holder.setAttribute("aria-label", "The family; arrow keys choose a step");
  let mark = () => {};
  drawn(holder, (width) => {
    mark = drawTowers(holder, width, family, choose);
    mark(state.step);
  });
  state.marks.push((step) => mark(step));
  holder.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    choose(Math.min(family.length - 1, Math.max(0, state.step + move)));
    event.preventDefault();
  });
  byId("growth-legend").append(...towersLegend(family));
}

function showGrowthLines(family) {
  if (family.length < 2) return;
  const at = family.map(({ step }) => step);
  const group = [];
  const entries = new Map();
  const figure = (title, lines, more) => byId("growth-lines").append(lineFigure({ title, lines, x: "step", unit: "step", group, height: 0.42, ...more }));
  const { stop, width } = data.growth;
  if (stagesOf(family[0])) {
    const blocks = family.map((member) => stagesOf(member).reduce((sum, { depth }) => sum + depth, 0));
    figure("blocks", [{ name: "blocks", style: 0, at, values: blocks }], { isCount: true, low: 0, format: whole });
  }
  if (width || stagesOf(family[0])) entries.set("line series-0", "size and cost");
  if (width) figure(width, [{ name: width, style: 0, at, values: family.map((member) => member.width) }], { isCount: true, format: whole });
  for (const score of data.scores) {
    const column = columns.get(score.name);
    const values = family.map(({ point }) => column.values[point]);
    if (values.every((value) => value === null)) continue;
    if (score.is_cost) entries.set("line series-0", "size and cost");
    else entries.set("line series-3", "scores");
    if (stop && stop.name === score.name) entries.set("level", "where the growth was to end");
    const levels = stop && stop.name === score.name ? [{ value: stop.bound, label: `stop ${shownValue(score.name, stop.bound)}` }] : [];
    figure(titleOf(score.name), [{ name: titleOf(score.name), style: score.is_cost ? 0 : 3, at, values }], {
      isCount: column.isCount,
      levels,
      format: (value) => shownValue(score.name, value),
    });
  }
  byId("growth-lines-legend").append(...[...entries].map(([name, text]) => lineEntry(name, text)));
}

// Candidates of a step: those asked for between two numbers.
function candidatesOf({ asked: [from, to] }) {
  return [...Array(size).keys()].filter((point) => points.candidate[point] >= from && points.candidate[point] < to);
}

function showSteps(family, state, choose) {
  const select = el("select", { "aria-label": "Step" }, ...family.map(({ step, change }, k) => el("option", { value: k, text: `${step}: ${arrowed(change)}` })));
  const button = (text, label, move) => el("button", { type: "button", text, "aria-label": label, onclick: () => choose(Math.min(family.length - 1, Math.max(0, state.step + move))) });
  byId("steps-controls").append(el("span", { class: "stepper" }, button("‹", "Step before", -1), el("label", {}, "step ", select), button("›", "Next step", 1)));
  select.addEventListener("change", () => choose(Number(select.value)));

  const holder = byId("steps-plot");
  const spots = { chosen: null, pinned: null, spots: [], order: [] };
  const pick = (point) => {
    spots.chosen = point;
    showCandidate(family[state.step], spots);
    mark(spots);
  };
  const again = drawn(holder, (width) => drawStep(holder, width, family[state.step], spots));
  holder.addEventListener("pointermove", (event) => {
    const point = nearest(spots, event, holder);
    if (spots.pinned === null && point !== null && point !== spots.chosen) pick(point);
  });
  holder.addEventListener("click", (event) => {
    const point = nearest(spots, event, holder);
    spots.pinned = point === null || point === spots.pinned ? null : point;
    pick(point === null ? family[state.step].point : point);
  });
  holder.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move || !spots.order.length) return;
    spots.pinned = null;
    pick(spots.order[Math.min(spots.order.length - 1, Math.max(0, spots.order.indexOf(spots.chosen) + move))]);
    event.preventDefault();
  });
  state.marks.push((step) => {
    select.value = step;
    spots.pinned = null;
    spots.chosen = family[step].point;
    again();
    showCandidate(family[step], spots);
  });
  remember("steps", () => (spots.chosen === family[state.step].point ? null : [textOf(spots.chosen), spots.pinned !== null]), ([text, isPinned]) => {
    const point = pointOf(text);
    if (!spots.order.includes(point)) return;
    spots.pinned = isPinned ? point : null;
    pick(point);
  });
}

function showCandidate(member, spots) {
  const isChosen = spots.chosen === member.point;
  const label = isChosen ? (member.step ? `Chosen in step ${member.step}` : "The start") : "Not chosen";
  const shown = card(spots.chosen, spots.pinned === spots.chosen ? `${label}, kept` : label, member.point, "div");
  const hint = "Point at a mark, or use the arrow keys; a click keeps it here. Marked cells differ from the chosen one.";
  byId("steps-panel").replaceChildren(shown, el("p", { class: "hint", text: hint }));
}

// The first two objectives; the cost that grows stands in for a second one.
function stepAxes() {
  const names = data.objectives.map(({ name }) => name).filter((name) => columns.has(name));
  const rest = ["num_params", "macs"].filter((name) => columns.has(name) && !names.includes(name));
  return names.length > 1 ? [names[0], names[1]] : [...rest.slice(0, 1), ...names.slice(0, 1)];
}

function drawStep(holder, width, member, spots) {
  const [xName, yName] = stepAxes();
  const x = columns.get(xName), y = columns.get(yName);
  const all = candidatesOf(member);
  const known = all.filter((point) => x.values[point] !== null && y.values[point] !== null);
  const height = Math.max(280, Math.min(400, Math.round(width * 0.6)));
  const yAxis = axisOf(known.map((point) => y.values[point]), height - 64, { isCount: y.isCount, spacing: 44 });
  const margin = { left: leftMargin(yAxis), right: 12, top: 24, bottom: 40 };
  const xAxis = axisOf(known.map((point) => x.values[point]), width - margin.left - margin.right, { isCount: x.isCount, spacing: 64 });
  const arrow = (column, up, down) => (column.maximize ? up : down);
  const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": `Candidates of step ${member.step}` });
  const { px, py } = axes(picture, width, height, margin, xAxis, yAxis, {
    x: titleOf(xName),
    y: titleOf(yName),
    xHint: arrow(x, " → better", " ← better"),
    yHint: arrow(y, " ↑ better", " ↓ better"),
  });
  spots.spots = known.map((point) => [px(x.values[point]), py(y.values[point]), point]);
  spots.order = [...spots.spots].sort((a, b) => a[0] - b[0] || b[1] - a[1]).map(([, , point]) => point);
  for (const [left, top, point] of spots.spots) {
    const isFeasible = points.state[point] === OK;
    const [shape, name, r] = point === member.point ? ["circle", "best", 6] : isFeasible ? ["circle", "point", 4.2] : ["diamond", "infeasible", 4.2];
    picture.append(svg("path", { class: `mark ${name}`, d: symbol(shape, left, top, r), "data-point": point }));
  }
  spots.marker = svg("path", { class: "marker", d: "" });
  picture.append(spots.marker);
  holder.replaceChildren(picture);
  holder.style.height = `${height}px`;
  holder.setAttribute("tabindex", "0");
  holder.setAttribute("role", "application");
  holder.setAttribute("aria-label", `Candidates of step ${member.step}; arrow keys move between them`);
  mark(spots);
  describeStep(member, all, known);
}

function describeStep(member, all, known) {
  const without = all.length - known.length;
  const ranked = data.objectives.length > 1 ? "the smallest sum of ranks over the objectives is chosen" : "the best is chosen";
  byId("steps-note").textContent = member.step
    ? `Step ${member.step} scored ${plural(all.length, "candidate", "candidates")}: ${ranked}.${without ? ` ${plural(without, "has", "have")} no place here, as a score is missing.` : ""}`
    : "The start is what was given; nothing was chosen.";
  const entries = [legendEntry("circle", "best", "chosen"), legendEntry("circle", "point", "scored")];
  if (known.some((point) => points.state[point] !== OK)) entries.push(legendEntry("diamond", "infeasible", "infeasible: breaks a constraint, or failed"));
  byId("steps-legend").replaceChildren(...entries);
}

function showFamily(family, state, choose) {
  const score = ({ name }) => ({ title: titleOf(name), isNumber: true, cell: ({ point }) => shownValue(name, columns.get(name).values[point]) });
  const { depth, width } = data.growth;
  const made = [
    { title: "step", isNumber: true, cell: ({ step }) => whole(step) },
    { title: "change", cell: ({ change }) => arrowed(change) },
    depth && { title: depth, cell: ({ depths }) => depths.join(" ") },
    width && { title: width, isNumber: true, cell: (member) => whole(member.width) },
    ...data.scores.filter((one) => one.is_cost).map(score),
    ...data.scores.filter((one) => !one.is_cost).map(score),
    { title: "architecture", cell: ({ point }) => genotype(textOf(point)) },
  ].filter(Boolean);
  const table = rowsTable(made, family, (_, k) => ({ class: "pointable", onclick: () => choose(k) }));
  byId("family-table").append(table);
  const lines = [...table.querySelectorAll("tbody tr")];
  state.marks.push((step) => lines.forEach((line, k) => line.classList.toggle("chosen", k === step)));
}

// What changed while the search went on: the best values, and the policy.

function showProgress() {
  const traces = data.traces.filter(({ at }) => at.length);
  if (!traces.length) {
    byId("progress").hidden = true;
    return;
  }
  const several = data.objectives.length > 1;
  const sampleNote = size < data.total ? "Dots are a sample of all evaluations. " : "";
  const volume = traces.some(({ name }) => name === "hypervolume")
    ? "The hypervolume is the part of the rectangle between the worst and the best observed values of both objectives that the front dominates. "
    : "";
  byId("progress-note").textContent = `${several ? "Each objective's own best. " : ""}${volume}${sampleNote}Candidates are numbered in the order in which the searcher chose them.`;
  const holder = byId("progress-plots");
  if (traces.length === 1) holder.classList.add("single");
  for (const trace of traces) {
    const plot = el("div", { class: "plot" });
    holder.append(el("figure", {}, el("figcaption", { text: traceTitle(trace) }), plot));
    drawn(plot, (width) => drawTrace(plot, width, trace));
  }
}

function traceTitle({ name, values, at }) {
  const last = values[values.length - 1];
  const value = name === "hypervolume" ? number(last, 3) : shownValue(name, last);
  return `${titleOf(name)}: ${value}, since candidate ${whole(at[at.length - 1])}`;
}

function drawTrace(plot, width, trace) {
  const column = columns.get(trace.name);
  const dots = [];
  if (column) {
    for (let point = 0; point < size; point++) {
      if (points.state[point] === OK && points.candidate[point] >= 0 && column.values[point] !== null) dots.push(point);
    }
  }
  const last = Math.max(data.counts.evaluations - 1, points.candidate.reduce((a, b) => Math.max(a, b), 0), 1);
  const height = Math.max(215, Math.min(280, Math.round(width * 0.42)));
  const yAxis = axisOf([...trace.values, ...dots.map((point) => column.values[point])], height - 64, column ? { isCount: column.isCount, spacing: 36 } : { isLinear: true, low: 0, spacing: 36 });
  const margin = { left: leftMargin(yAxis), right: 12, top: 24, bottom: 40 };
  const xAxis = axisOf([0, last], width - margin.left - margin.right, { isCount: true, isLinear: true, isTight: true, spacing: 70 });
  const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": traceTitle(trace) });
  const better = column ? (column.maximize ? " ↑ better" : " ↓ better") : " ↑ better";
  const { px, py, inner } = axes(picture, width, height, margin, xAxis, yAxis, { x: CANDIDATE, y: titleOf(trace.name), yHint: better });
  const canvas = el("canvas", { "aria-hidden": "true" });
  paint(canvas, width, height, dots.map((point) => [px(points.candidate[point]), py(column.values[point]), point]), null);
  let path = `M${px(trace.at[0])},${py(trace.values[0])}`;
  for (let i = 1; i < trace.at.length; i++) path += ` H${px(trace.at[i])} V${py(trace.values[i])}`;
  path += ` H${inner.right}`;
  const overlay = svg("svg", { width, height, class: "chart overlay", "aria-hidden": "true" }, svg("path", { class: "best-line", d: path }));
  plot.replaceChildren(picture, canvas, overlay);
  plot.style.height = `${height}px`;
}

function showPolicy() {
  const policy = data.policy;
  if (!policy) {
    byId("policy").hidden = true;
    return;
  }
  const about = "The probability of each option of each decision, after so many evaluations. Options stand on the left in their order, their probabilities at the end on the right. ";
  byId("policy-note").textContent = (policy.decisions.length ? about : "") + policy.note;
  for (const decision of policy.decisions) byId("policy-plots").append(policyFigure(policy, decision));
}

function policyFigure(policy, { name, options, probabilities }) {
  const plot = el("div", { class: "plot" });
  const final = probabilities[probabilities.length - 1];
  const top = final.indexOf(Math.max(...final));
  const reading = el("span", { class: "muted" });
  const rest = () => (reading.textContent = `${options[top]} with ${Math.round(100 * final[top])} %`);
  rest();
  const figure = el("figure", {}, el("figcaption", {}, el("strong", { text: name }), " ", reading), plot);
  drawn(plot, (width) => {
    const left = 12 + 6.4 * Math.min(6, Math.max(...options.map((option) => option.length)));
    const height = 108, right = width - 40, bottom = height - 18;
    const told = policy.told;
    const x = (i) => left + ((right - left) * (told[i] - told[0])) / Math.max(1, told[told.length - 1] - told[0]);
    const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": `${name}: ${options.map((option, i) => `${option} ${Math.round(100 * final[i])} %`).join(", ")}` });
    const base = told.map(() => 0);
    const labels = [];
    options.forEach((option, k) => {
      const lower = base.slice();
      told.forEach((_, i) => (base[i] += probabilities[i][k]));
      const edge = (heights, i) => `${x(i).toFixed(1)},${(bottom - heights[i] * bottom).toFixed(1)}`;
      const there = told.map((_, i) => edge(base, i)).join(" L");
      const back = told.map((_, i) => edge(lower, i)).reverse().join(" L");
      if (told.length > 1) picture.append(svg("path", { class: "band", style: `fill:var(--band-${bandOf(k, options.length)})`, d: `M${there} L${back} Z` }));
      const centre = (i) => bottom - ((lower[i] + base[i]) / 2) * bottom;
      labels.push({ option, k, first: centre(0), last: centre(told.length - 1), share: final[k] });
    });
    // All options are as likely at the start, so each has room on the left unless there are many.
    const short = (option) => (option.length > 6 ? `${option.slice(0, 5)}…` : option);
    const every = Math.ceil((11 * options.length) / bottom);
    labels.forEach(({ option, k, first, last, share }) => {
      if (k % every === 0) picture.append(svg("text", { class: "option", x: left - 5, y: first + 4, "text-anchor": "end", text: short(option) }));
      if (share * bottom >= 12) picture.append(svg("text", { class: k === top ? "option chosen" : "option", x: right + 5, y: last + 4, text: `${Math.round(100 * share)} %` }));
    });
    picture.append(
      svg("text", { class: "tick", x: left, y: height - 3, text: whole(told[0]) }),
      svg("text", { class: "tick", x: right, y: height - 3, "text-anchor": "end", text: plural(told[told.length - 1], "evaluation", "evaluations") }),
    );
    const cursor = svg("line", { class: "cursor", y1: 0, y2: bottom });
    picture.append(cursor);
    picture.addEventListener("pointermove", (event) => {
      const at = event.clientX - picture.getBoundingClientRect().left;
      const share = Math.min(1, Math.max(0, (at - left) / (right - left)));
      const wanted = told[0] + share * (told[told.length - 1] - told[0]);
      let i = 0;
      while (i + 1 < told.length && told[i + 1] <= wanted) i++;
      cursor.setAttribute("x1", x(i));
      cursor.setAttribute("x2", x(i));
      cursor.setAttribute("class", "cursor on");
      reading.textContent = `after ${whole(told[i])}: ${options.map((option, k) => `${option} ${Math.round(100 * probabilities[i][k])} %`).join(", ")}`;
    });
    picture.addEventListener("pointerleave", () => {
      cursor.setAttribute("class", "cursor");
      rest();
    });
    plot.replaceChildren(picture);
    plot.style.height = `${height}px`;
  });
  return figure;
}

// Options in order take the ramp's whole length, whatever their number.
function bandOf(k, count) {
  return count === 1 ? 3 : Math.round((6 * k) / (count - 1));
}

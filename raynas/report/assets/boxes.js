// Box plots: what some values of each place are like, with the values themselves as dots.

// spec: title, y, groups [{name, style, boxes: [{at, values}]}], x, levels [{value, label}], and low where the axis begins.
function boxFigure(spec) {
  const plot = el("div", { class: "plot", role: "img", "aria-label": spec.title });
  drawn(plot, (width) => drawBoxes(plot, width, spec));
  return el("figure", {}, el("figcaption", { class: "read" }, el("strong", { text: spec.title })), plot);
}

// The value below which a share of sorted values lies, between two of them in proportion.
function quantileOf(sorted, share) {
  const place = share * (sorted.length - 1), below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

function drawBoxes(plot, width, spec) {
  const height = 240;
  const all = spec.groups.flatMap(({ boxes }) => boxes.flatMap(({ values }) => values));
  const places = [...new Set(spec.groups.flatMap(({ boxes }) => boxes.map(({ at }) => at)))].sort((a, b) => a - b);
  const y = axisOf([...all, ...(spec.levels || []).map(({ value }) => value)], height - 50, { low: spec.low, isLinear: true });
  const x = axisOf([places[0] - 0.5, places[places.length - 1] + 0.5], width - 60, { isTight: true, isLinear: true, isCount: true });
  x.ticks = x.ticks.filter(({ value }) => Number.isInteger(value) && places.includes(value));
  const root = svg("svg", { width, height, class: "chart" });
  const margin = { left: leftMargin(y), right: 8, top: 20, bottom: 36 };
  const { px, py, inner } = axes(root, width, height, margin, x, y, { x: spec.x, y: spec.y });
  const room = (px(places[0] + 1) - px(places[0])) * 0.8;
  const each = Math.min(26, room / spec.groups.length);
  spec.groups.forEach(({ name, style, boxes }, g) => {
    for (const { at, values } of boxes) {
      const sorted = [...values].sort((a, b) => a - b);
      const [low, first, middle, third, high] = [0, 0.25, 0.5, 0.75, 1].map((share) => quantileOf(sorted, share));
      const centre = px(at) + (g - (spec.groups.length - 1) / 2) * each;
      const half = Math.max(2, each * 0.4);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const hint = `${name}, block ${at}: mean ${number(mean, 3)}, median ${number(middle, 3)}, ${plural(values.length, "head", "heads")} from ${number(low, 3)} to ${number(high, 3)}`;
      root.append(svg("g", { class: "box", style: `color:var(--part-${style})` },
        svg("title", { text: hint }),
        svg("line", { x1: centre, x2: centre, y1: py(low), y2: py(high), stroke: "currentColor" }),
        svg("rect", { x: centre - half, width: 2 * half, y: py(third), height: Math.max(1, py(first) - py(third)), fill: "currentColor", "fill-opacity": 0.3, stroke: "currentColor" }),
        svg("line", { x1: centre - half, x2: centre + half, y1: py(middle), y2: py(middle), stroke: "currentColor", "stroke-width": 2 }),
        ...sorted.map((value) => svg("circle", { cx: centre, cy: py(value), r: 1.6, fill: "currentColor" }))));
    }
  });
  for (const { value, label } of spec.levels || []) {
    root.append(
      svg("line", { class: "level", x1: inner.left, x2: inner.right, y1: py(value), y2: py(value) }),
      svg("text", { class: "level-label", x: inner.left + 4, y: py(value) - 4, text: label }),
    );
  }
  plot.style.height = `${height}px`;
  plot.replaceChildren(root);
}

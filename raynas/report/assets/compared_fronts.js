// The front of each run in one picture.

const SPOTS = ["circle", "diamond", "square"];

function betterSide({ better }, [max, min]) {
  return better === "max" ? max : min;
}

function showFronts() {
  if (!data.fronts) {
    byId("fronts").hidden = true;
    return;
  }
  const { x, y, fronts } = data.fronts;
  byId("fronts-note").textContent = `Each mark is an architecture that no other of its run dominates: better are ${betterSide(y, ["high", "low"])} ${titleOf(y.name)} and ${betterSide(x, ["high", "low"])} ${titleOf(x.name)}.`;
  byId("fronts-legend").append(
    ...fronts.map((spots, i) => {
      const mark = svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, svg("path", { class: `front-spot ${seriesOf(i)}`, d: symbol(SPOTS[i % 3], 7, 7, 4) }));
      return el("span", {}, mark, `${data.runs[i].name}${spots.length ? "" : ": none yet"}`);
    }),
  );
  const plot = byId("fronts-plot");
  drawn(plot, (width) => drawFronts(plot, width));
}

function drawFronts(plot, width) {
  const { x, y, fronts } = data.fronts;
  const height = Math.max(240, Math.min(460, Math.round(width * 0.5)));
  const isCost = ({ name }) => ["num_params", "macs"].includes(name);
  const all = fronts.flat();
  const yAxis = axisOf(all.map((spot) => spot[1]), height - 70, { isCount: isCost(y), spacing: 36 });
  const margin = { left: leftMargin(yAxis), right: 14, top: 24, bottom: 40 };
  const xAxis = axisOf(all.map((spot) => spot[0]), width - margin.left - margin.right, { isCount: isCost(x) });
  const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": `${titleOf(y.name)} against ${titleOf(x.name)}` });
  const { px, py } = axes(picture, width, height, margin, xAxis, yAxis, { x: titleOf(x.name), y: titleOf(y.name) });
  fronts.forEach((spots, i) => {
    const places = spots.map(([a, b]) => [px(a), py(b)]);
    picture.append(svg("path", { class: `line ${seriesOf(i)} thin`, d: places.map(([a, b], k) => `${k ? "L" : "M"}${a.toFixed(1)},${b.toFixed(1)}`).join(" ") }));
    places.forEach(([a, b], k) => {
      const text = `${data.runs[i].name}: ${titleOf(y.name)} ${number(spots[k][1])}, ${titleOf(x.name)} ${isCost(x) ? compact(spots[k][0]) : number(spots[k][0])}`;
      picture.append(svg("path", { class: `front-spot ${seriesOf(i)}`, d: symbol(SPOTS[i % 3], a, b, 3.8) }, svg("title", { text })));
    });
  });
  plot.replaceChildren(picture);
  plot.style.height = `${height}px`;
}

function seriesOf(i) {
  return `series-${i % MAX_STYLES}`;
}

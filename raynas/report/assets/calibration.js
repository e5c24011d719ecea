// Whether a network is right as often as it says: accuracy by confidence, and how many images have which confidence.

function showCalibration() {
  const found = data.evaluated.calibration;
  if (!found) {
    byId("calibration-verdict").textContent = "The network gives no probabilities that are numbers, so that there is nothing to compare.";
    byId("calibration").querySelector("details").hidden = true;
    return;
  }
  const share = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;
  const gap = found.confidence - found.accuracy;
  const kind = found.low <= 0 ? "no more than chance may do" : gap > 0 ? "it is overconfident" : "it is underconfident";
  byId("calibration-verdict").append(
    `It says ${share(found.confidence)} on average and is right in ${share(found.accuracy)}: `,
    el("strong", { text: `expected calibration error ${share(found.error, 2)}` }),
    `, 95 % interval ${(100 * found.low).toFixed(2)} to ${share(found.high, 2)}: ${kind}. A network that is right as often as it says would show ${share(found.by_chance, 2)} on as many images.`,
  );
  byId("calibration-note").textContent =
    `The confidence of an image is the probability of the class that it is taken for. ${found.bins.length} bins of equal width; a dot is the accuracy of a bin's images over their mean confidence, ` +
    "its line Wilson's 95 % interval, its size their number. On the dashed line, a network is right as often as it says; below, it is too sure. The error is the mean distance from that line over " +
    "all images (ECE, Guo et al. 2017), its interval that of a basic bootstrap of the images.";
  const hint = ({ from, to, images, correct, confidence, low, high }) =>
    `confidence ${share(from, 0)} to ${share(to, 0)}: ${plural(images, "image", "images")}${images ? `, mean confidence ${share(confidence)}, right ${share(correct / images)} (${(100 * low).toFixed(1)} to ${share(high)})` : ""}`;
  const figure = (title, draw) => {
    const plot = el("div", { class: "plot", role: "img", "aria-label": `${title}; the table below has the numbers` });
    byId("calibration-plots").append(el("figure", {}, el("figcaption", {}, el("strong", { text: title })), plot));
    drawn(plot, (width) => draw(plot, width, found.bins, hint));
  };
  figure("accuracy by confidence, %", drawReliability);
  figure("images by confidence", drawConfidences);
  const made = [
    { title: "confidence", cell: ({ from, to }) => `${(100 * from).toFixed(1)} to ${share(to)}` },
    { title: "images", isNumber: true, cell: ({ images }) => whole(images) },
    { title: "mean confidence", isNumber: true, cell: ({ confidence }) => (confidence === null ? "–" : share(confidence, 2)) },
    { title: "right", isNumber: true, cell: ({ images, correct }) => (images ? share(correct / images, 2) : "–") },
    { title: "95 % interval", isNumber: true, cell: ({ images, low, high }) => (images ? `${(100 * low).toFixed(2)} to ${share(high, 2)}` : "–") },
  ];
  byId("calibration-table").append(rowsTable(made, found.bins));
}

// Both figures are over the same axis, so that a bin stands above itself where there is room for one column alone.
function confidenceAxis(width) {
  return axisOf([0, 100], width - 60, { isTight: true, isLinear: true, low: 0, spacing: 60 });
}

function drawReliability(plot, width, bins, hint) {
  const height = Math.max(240, Math.min(420, Math.round(width * 0.72)));
  const root = svg("svg", { width, height, class: "chart" });
  const y = axisOf([0, 100], height - 54, { isTight: true, isLinear: true, low: 0, spacing: 40 });
  const margin = { left: leftMargin(y), right: 14, top: 12, bottom: 40 };
  const { px, py } = axes(root, width, height, margin, confidenceAxis(width), y, { x: "confidence, %" });
  root.append(svg("line", { class: "level", x1: px(0), y1: py(0), x2: px(100), y2: py(100) }));
  const most = Math.max(...bins.map(({ images }) => images));
  for (const bin of bins.filter(({ images }) => images)) {
    const [x, share] = [px(100 * bin.confidence), (100 * bin.correct) / bin.images];
    root.append(svg("g", { class: "bin" },
      svg("title", { text: hint(bin) }),
      svg("line", { class: "whisker", x1: x, x2: x, y1: py(100 * bin.low), y2: py(100 * bin.high) }),
      svg("circle", { class: "mark point", cx: x, cy: py(share), r: 2.5 + 5 * Math.sqrt(bin.images / most) })));
  }
  plot.style.height = `${height}px`;
  plot.replaceChildren(root);
}

function drawConfidences(plot, width, bins, hint) {
  const height = Math.max(240, Math.min(420, Math.round(width * 0.72)));
  const root = svg("svg", { width, height, class: "chart" });
  const y = axisOf([0, ...bins.map(({ images }) => images)], height - 72, { isCount: true, isLinear: true, low: 0, spacing: 40 });
  const margin = { left: leftMargin(y), right: 14, top: 30, bottom: 40 };
  const { px, py } = axes(root, width, height, margin, confidenceAxis(width), y, { x: "confidence, %", y: "" });
  for (const bin of bins.filter(({ images }) => images)) {
    const [left, right] = [px(100 * bin.from) + 1, px(100 * bin.to) - 1];
    const box = (name, low, high) => svg("rect", { class: name, x: left, width: Math.max(1, right - left), y: py(high), height: Math.max(0, py(low) - py(high)) });
    root.append(svg("g", { class: "bin" }, svg("title", { text: hint(bin) }), box("bar-right", 0, bin.correct), box("bar-wrong", bin.correct, bin.images)));
  }
  [["bar-right", "right"], ["bar-wrong", "wrong"]].forEach(([name, text], i) => {
    root.append(svg("rect", { class: name, x: margin.left + 70 * i, y: 6, width: 10, height: 10 }), svg("text", { x: margin.left + 70 * i + 15, y: 15, text }));
  });
  plot.style.height = `${height}px`;
  plot.replaceChildren(root);
}

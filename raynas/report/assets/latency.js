// How well latencies are predicted: each measurement against what all others predict of it.

function showPrediction() {
  const { measured, predicted, low, high, text, level, reason } = data.prediction;
  if (reason) {
    byId("prediction-note").textContent = reason;
    for (const name of ["plot", "legend", "details"]) byId(`prediction-${name}`).remove();
    return;
  }
  const facts = new Map(data.facts);
  const isHeld = (i) => low[i] <= measured[i] && measured[i] <= high[i];
  const held = measured.filter((_, i) => isHeld(i)).length;
  byId("prediction-note").textContent =
    `Each of ${plural(measured.length, "measurement", "measurements")} is predicted from all others: they are ordered with Spearman's rho ${facts.get("Spearman's rho")}, ` +
    `the median error is ${facts.get("median error")}, and ${whole(held)} of the ${level} intervals hold what was measured. Intervals reach ${facts.get("which reach above by")} above the prediction, in the median.`;
  const ms = (value) => `${number(value, 4)} ms`;
  const hint = (i) => `${text[i]}: measured ${ms(measured[i])}, predicted ${ms(predicted[i])} (${ms(low[i])} to ${ms(high[i])})`;
  const plot = byId("prediction-plot");
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", "Predicted against measured latencies; the table below has the numbers");
  drawn(plot, (width) => drawPrediction(plot, width, data.prediction, isHeld, hint));
  byId("prediction-legend").append(
    legendEntry("circle", "point", `predicted from all others, with its ${level} interval`),
    ...(held < measured.length ? [legendEntry("diamond", "infeasible", "measured outside its interval")] : []),
    lineEntry("level", "predicted as measured"),
  );
  const order = measured.map((_, i) => i).sort((a, b) => measured[a] - measured[b]);
  const made = [
    { title: "measured, ms", isNumber: true, cell: (i) => number(measured[i]) },
    { title: "predicted, ms", isNumber: true, cell: (i) => number(predicted[i]) },
    { title: `${level} interval, ms`, isNumber: true, cell: (i) => `${number(low[i])} to ${number(high[i])}` },
    { title: "holds it", cell: (i) => (isHeld(i) ? "yes" : "no") },
    { title: "architecture", cell: (i) => genotype(text[i]) },
  ];
  byId("prediction-table").append(rowsTable(made, order));
}

function drawPrediction(plot, width, { measured, predicted, low, high }, isHeld, hint) {
  const height = Math.max(280, Math.min(460, Math.round(width * 0.6)));
  const root = svg("svg", { width, height, class: "chart" });
  const ends = [Math.min(...measured, ...low), Math.max(...measured, ...high)];
  const [least, most] = [Math.min(...measured), Math.max(...measured)];
  const y = logAxis(...ends, Math.floor((height - 64) / 36), {}); // errors are shares of a latency
  const margin = { left: leftMargin(y), right: 14, top: 24, bottom: 40 };
  const x = logAxis(least, most, Math.floor((width - margin.left - margin.right) / 60), {});
  const { px, py } = axes(root, width, height, margin, x, y, { x: "measured, ms", y: "predicted, ms" });
  root.append(svg("line", { class: "level", x1: px(least), y1: py(least), x2: px(most), y2: py(most) }));
  measured.forEach((value, i) => {
    const [left, top] = [px(value), py(predicted[i])];
    const mark = isHeld(i) ? { class: "mark point", d: symbol("circle", left, top, 3.6) } : { class: "mark infeasible", d: symbol("diamond", left, top, 4.2) };
    root.append(svg("g", {}, svg("title", { text: hint(i) }), svg("line", { class: "whisker", x1: left, x2: left, y1: py(low[i]), y2: py(high[i]) }), svg("path", mark)));
  });
  plot.style.height = `${height}px`;
  plot.replaceChildren(root);
}

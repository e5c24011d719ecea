// Which decisions matter: the share of each field in the variance of an objective, with its interval.

function showDecisions() {
  const found = data.decisions;
  if (!found) {
    byId("decisions").hidden = true;
    return;
  }
  byId("decisions-note").textContent =
    "How much of the variance of an objective each field accounts for by itself, by a functional ANOVA of main effects: 0 % where it makes no difference, 100 % where nothing else does. " +
    "Lines are 95 % intervals. What is left is the joint effect of several decisions, and noise.";
  const holder = byId("decisions-plots");
  if (found.objectives.length === 1) holder.classList.add("single");
  for (const one of found.objectives) {
    const caption = el("figcaption", { text: `${titleOf(one.name)}${one.is_log ? ", its logarithm" : ""}: ${plural(one.n, "architecture", "architectures")}` });
    if (one.missing) {
      holder.append(el("figure", {}, caption, el("p", { class: "note", text: `${one.missing[0].toUpperCase()}${one.missing.slice(1)}.` })));
      continue;
    }
    const plot = el("div", { class: "plot" });
    const summarised = one.is_summarised ? "There are too few architectures to look at single layers: of each list, the mean of its numbers counts, in quarters. " : "";
    const words = summarised + one.sample;
    holder.append(el("figure", {}, caption, plot, words ? el("p", { class: "note", text: words }) : null));
    drawn(plot, (width) => drawDecisions(plot, width, one));
  }
}

function drawDecisions(plot, width, one) {
  const rows = [...one.fields, { field: "joint effects and noise", share: one.rest, why: "", isRest: true }];
  const line = 38, top = 6, bottom = 24;
  const height = top + rows.length * line + bottom;
  const [left, right] = [2, width - 46];
  const px = (share) => left + share * (right - left);
  const text = (share) => (share < 0.005 ? "0 %" : `${Math.round(100 * share)} %`);
  const label = rows.map(({ field, share }) => `${field} ${text(share[0])}`).join(", ");
  const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": `Shares of the variance of ${titleOf(one.name)}: ${label}` });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    picture.append(
      svg("line", { class: "rule", x1: px(share), x2: px(share), y1: top, y2: height - bottom }),
      svg("text", { class: "tick", x: px(share), y: height - 6, "text-anchor": share ? "middle" : "start", text: `${100 * share} %` }),
    );
  }
  rows.forEach(({ field, share, why, isRest }, i) => {
    const y = top + i * line;
    const [value, low, high] = share;
    const words = `${field}${why ? ` · ${why}` : ""}`;
    const room = Math.floor((right - left) / 6.4);
    picture.append(
      svg("text", { class: isRest ? "option" : "field", x: left, y: y + 13 }, words.length > room ? `${words.slice(0, Math.max(1, room - 1))}…` : words, svg("title", { text: words })),
      svg("rect", { class: isRest ? "share rest" : "share", x: left, y: y + 18, width: Math.max(1, px(value) - left), height: 10, rx: 2, "data-share": value, "data-field": field }),
      svg("path", { class: "whisker", d: `M${px(low)},${y + 19} v8 m0,-4 H${px(high)} m0,-4 v8` }, svg("title", { text: `${text(low)} to ${text(high)}` })),
      svg("text", { class: "value", x: right + 44, y: y + 27, "text-anchor": "end", text: text(value) }),
    );
  });
  plot.style.height = `${height}px`;
  plot.replaceChildren(picture);
}

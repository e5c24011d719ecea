// The winner of a search beside the uniform network of its cost and random ones, on one line.

function showComparison() {
  const compared = data.comparison;
  if (!compared) {
    byId("comparison").hidden = true;
    return;
  }
  const { objective, winner, uniform, random, verdict } = compared;
  byId("comparison-note").textContent =
    `${verdict[0].toUpperCase()}${verdict.slice(1)}. The winner was chosen by this very number, the others were not: part of its lead is luck that training anew will not repeat.`;
  const shown = (value) => shownValue(objective, value);
  drawn(byId("comparison-plot"), (width) => {
    const height = 96, line = 36;
    const x = axisOf([winner.value, ...(uniform ? [uniform.value] : []), ...random], width, {});
    const label = `${objective}: winner ${shown(winner.value)}${uniform ? `, uniform ${shown(uniform.value)}` : ""}, ${plural(random.length, "random network", "random networks")}`;
    const picture = svg("svg", { width, height, class: "chart", role: "img", "aria-label": label });
    const { px } = axes(picture, width, height, { left: 12, right: 12, top: 8, bottom: 36 }, x, { ticks: [], suffix: "", at: () => 0 }, { x: titleOf(objective) });
    const mark = (value, shape, name, r, text) =>
      picture.append(svg("path", { class: `mark ${name}`, d: symbol(shape, px(value), line, r) }, svg("title", { text: `${text}: ${shown(value)}` })));
    for (const value of random) mark(value, "circle", "point", 4, "a random network");
    if (uniform) mark(uniform.value, "square", "recommended", 6, "the uniform network");
    mark(winner.value, "diamond", "best", 6.5, "the winner");
    byId("comparison-plot").style.height = `${height}px`;
    byId("comparison-plot").replaceChildren(picture);
  });
  const entries = [legendEntry("diamond", "best", "the winner")];
  if (uniform) entries.push(legendEntry("square", "recommended", "the uniform network of nearly equal multiply-adds"));
  if (random.length) entries.push(legendEntry("circle", "point", "random networks within the constraints"));
  byId("comparison-legend").append(...entries);
  for (const [title, one] of [["winner", winner], ["uniform", uniform]]) {
    if (!one) continue;
    const cost = one.macs === null ? "" : `, ${compact(one.macs)} multiply-adds`;
    byId("comparison-networks").append(
      el("div", {}, el("dt", { text: title }), el("dd", {}, `${titleOf(objective)} ${shown(one.value)}${cost} `, el("code", {}, ...breakable(one.text)), copyButton(one.text))),
    );
  }
}

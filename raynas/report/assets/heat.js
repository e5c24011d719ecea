// Tables of coloured cells.

// A table of coloured cells; spec:
//   rows, columns        [{name, hint, className}]
//   cell                 (row number, column number) -> {value, text, hint, ends, mark} or null
//   reading              where the cell under the pointer is written out
//   idle                 what stands there else
//   pick                 called with row and column numbers
//   isCompact, isTurned  cells without figures; names of columns upright
function heatMap(spec) {
  const cells = spec.rows.map((row, i) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", class: row.className || null, title: row.hint || null }, ...broken(row.name)),
      ...spec.columns.map((column, j) => heatCell(spec, i, j)),
    ),
  );
  const head = el(
    "tr",
    {},
    el("td"),
    ...spec.columns.map(({ name, className, hint }) => el("th", { scope: "col", class: className || null, title: hint || null }, spec.isTurned ? el("span", { text: name }) : el("span", {}, ...broken(name)))),
  );
  const table = el("table", { class: `matrix heat ${spec.isCompact ? "compact" : ""}` }, el("thead", {}, head), el("tbody", {}, ...cells));
  const read = (node) => {
    const found = node && node.closest("td[data-row]");
    spec.reading.textContent = found ? spec.cell(Number(found.dataset.row), Number(found.dataset.column)).hint : spec.idle;
  };
  table.addEventListener("pointerover", (event) => read(event.target));
  table.addEventListener("pointerleave", () => read(null));
  table.addEventListener("focusin", (event) => read(event.target));
  const act = (event) => {
    const found = event.target.closest("td[data-row]");
    if (!found || !spec.pick) return;
    spec.pick(Number(found.dataset.row), Number(found.dataset.column));
    event.preventDefault();
  };
  table.addEventListener("click", act);
  // One cell is in the order of the tab key; arrow keys move on from it.
  table.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") act(event);
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    const from = event.target.closest("td[data-row]");
    if (!step || !from) return;
    const to = table.querySelector(`td[data-row="${Number(from.dataset.row) + step[0]}"][data-column="${Number(from.dataset.column) + step[1]}"]`);
    if (to) to.focus();
    event.preventDefault();
  });
  read(null);
  return table;
}

function heatCell(spec, i, j) {
  const found = spec.cell(i, j);
  if (!found) return el("td", { class: "self", text: "·" });
  const attributes = { "data-row": i, "data-column": j, title: found.hint, tabindex: spec.pick ? (i || j ? "-1" : "0") : null, class: found.mark || null };
  if (found.value === null) return el("td", { ...attributes, text: spec.isCompact ? "" : "–" });
  const ends = found.ends ? el("span", { class: "ends", text: found.ends }) : null;
  return el("td", { ...attributes, style: heatStyle(found.value) }, spec.isCompact ? "" : found.text, ends);
}

function heatStyle(value) {
  const strength = Math.round(75 * Math.min(1, Math.abs(value)));
  return `background:color-mix(in srgb, var(--${value < 0 ? "minus" : "plus"}) ${strength}%, transparent)`;
}

// Names of combinations break before a sign too.
function broken(name) {
  return name.split(/(?=[+:])/).flatMap((part) => [...breakable(part)]);
}

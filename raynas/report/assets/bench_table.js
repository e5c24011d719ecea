// All statistics of one label as a table that a click on a heading sorts.

function showNumbers() {
  const label = select("label", labels.map(({ name }, i) => [String(i), name]), String(chosen.label));
  byId("numbers-controls").append(el("label", {}, "label ", label));
  const state = { by: "tau", isDown: true };
  const show = () => byId("numbers-table").replaceChildren(numbersTable(state, show));
  label.addEventListener("change", () => choose({ label: Number(label.value) }));
  filtered.push(show);
  listeners.push(() => {
    label.value = String(chosen.label);
    show();
  });
  show();
  remember("numbers", () => (state.by === "tau" && state.isDown ? null : state), (before) => {
    Object.assign(state, before);
    show();
  });
}

function numbersTable(state, again) {
  const k = chosen.label;
  const { random_regret: random, n, name } = labels[k];
  const share = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);
  const figure = (value, low, high) => [el("span", { text: value === null ? "–" : decimal(value) }), low === null ? null : el("span", { class: "ends", text: `${decimal(low)} … ${decimal(high)}` })].filter(Boolean);
  const measured = MEASURES.map(({ id, title, of, ends }) => ({ id, title, value: (p) => of(p, k), cell: (p) => figure(of(p, k), ...ends(p, k)) }));
  const pair = (id, title, text) => ({ id, title, value: (p) => pairOf(p, k)[id], cell: (p) => text(pairOf(p, k)[id], p) });
  const failed = (p) => {
    const others = predictors[p].statuses.split(", ").filter((one) => !one.endsWith(" ok"));
    return others.length ? [el("span", { class: "ends statuses", text: others.join(", ").replaceAll("_", " ") })] : [];
  };
  const seconds = (value) => (value === null ? "–" : value < 1e-3 ? "< 0.001" : trimmed(number(value, 2)));
  const top = Math.min(bench.top, n);
  const regret = (id) => (value, p) => [el("span", { text: value === null ? "–" : trimmed(number(value, 3)) }), value === null ? null : el("span", { class: "ends", text: share(pairOf(p, k)[`${id}_scaled`]) })].filter(Boolean);
  const made = [
    { id: "name", title: "predictor", isText: true, value: (p) => predictors[p].name, cell: (p) => [el("span", { class: `name ${predictors[p].kind}` }, ...broken(predictors[p].name)), pairOf(p, k).useful ? el("span", { class: "tag useful", text: "above size" }) : null].filter(Boolean) },
    ...measured,
    { id: "lead", title: "lead over size", value: (p) => pairOf(p, k).lead, cell: (p) => figure(pairOf(p, k).lead, pairOf(p, k).lead_low, pairOf(p, k).lead_high) },
    pair("top_5pct", "top 5 %", share),
    pair("top_10pct", "top 10 %", share),
    pair("top_k", `top ${top}`, share),
    pair("regret", "regret", regret("regret")),
    pair("regret_top_k", `regret of ${top}`, regret("regret_top_k")),
    pair("distinct", "different values", (value) => whole(value)),
    pair("n", "n", (value, p) => [el("span", { text: whole(value) }), ...(pairOf(p, k).n_sized < value ? [el("span", { class: "ends", text: `${whole(pairOf(p, k).n_sized)} with costs` })] : []), ...failed(p)]),
    { id: "seconds", title: "s each", value: (p) => predictors[p].seconds, cell: (p) => seconds(predictors[p].seconds) },
  ];
  const by = made.find(({ id }) => id === state.by);
  const order = shownPredictors().sort((a, b) => {
    const [first, second] = [by.value(a), by.value(b)];
    if (first === null || second === null) return (first === null) - (second === null);
    const ascending = by.isText ? first.localeCompare(second) : first - second;
    return state.isDown ? -ascending : ascending;
  });
  const head = made.map((column) => {
    const isBy = column.id === state.by;
    const sort = () => {
      Object.assign(state, { by: column.id, isDown: isBy ? !state.isDown : !column.isText });
      again();
      byId("numbers-table").querySelector(`[data-column="${column.id}"]`).focus();
    };
    return el(
      "th",
      { scope: "col", class: column.isText ? null : "number", "aria-sort": isBy ? (state.isDown ? "descending" : "ascending") : null },
      el("button", { type: "button", class: "sort", "data-column": column.id, text: `${column.title}${isBy ? (state.isDown ? " ▾" : " ▴") : ""}`, onclick: sort }),
    );
  });
  const body = order.map((p) =>
    el(
      "tr",
      { class: p === chosen.predictor ? "pointable chosen" : "pointable", onclick: () => choose({ predictor: p }) },
      ...made.map(({ isText, cell: of }) => el("td", { class: isText ? null : "number" }, of(p))),
    ),
  );
  byId("numbers-note").textContent =
    `Of ${plural(n, "architecture", "architectures")} with ${name}. Top: the share of the best that a predictor has among its own best. Regret: how much of ` +
    `${name} is lost by taking its first choice, or the best of its first ${top}; below it, as a share of the range. A random pick loses ${trimmed(number(random, 3))} in the mean. ` +
    "What has no value is ranked last there; equal values are not broken by chance but averaged. A click on a heading sorts.";
  return el("table", { class: "rows numbers" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body));
}

// Heat maps of correlations: predictors by labels, by strata, and among themselves.

const SPACIOUS = 6;

function showHeat() {
  const order = select("rows by", [...labels.map(({ name }, i) => [String(i), name]), ["mean", "mean over labels"]], "mean");
  const measure = select("shown", MEASURES.map(({ id, title }) => [id, title]), "tau");
  byId("heat-controls").append(el("label", {}, "rows by ", order), el("label", {}, "shown ", measure));
  byId("heat-note").textContent =
    "A row for each predictor, a column for each label; the darker, the stronger. Outlined: above " +
    `${toBeat.map((p) => titleOf(predictors[p].name)).join(", ")} in τ-b on the same architectures, beyond chance. A click draws the pair below.`;
  const show = () => {
    const shown = MEASURES.find(({ id }) => id === measure.value);
    const value = (p, k) => shown.of(p, k);
    const score = (p) => {
      const values = (order.value === "mean" ? labels.map((_, k) => value(p, k)) : [value(p, Number(order.value))]).filter((one) => one !== null);
      return values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : -Infinity;
    };
    const rows = shownPredictors().sort((a, b) => score(b) - score(a));
    const spec = {
      rows: rows.map((p) => ({ name: predictors[p].name, className: predictors[p].kind, hint: predictors[p].kind })),
      columns: labels.map(({ name, n, maximize }) => ({ name: maximize ? name : `${name} ↓`, hint: `${plural(n, "architecture", "architectures")}${maximize ? "" : ", lower is better"}` })),
      cell: (i, j) => {
        const pair = pairOf(rows[i], j);
        const found = value(rows[i], j);
        const [low, high] = shown.ends(rows[i], j);
        const ends = low === null || labels.length > SPACIOUS ? "" : `${decimal(low)} … ${decimal(high)}`;
        return { value: found, text: found === null ? "–" : decimal(found), ends, mark: pair.useful ? "marked" : "", hint: describePair(rows[i], j) };
      },
      reading: byId("heat-reading"),
      idle: "Point at a cell to read its interval.",
      pick: (i, j) => {
        choose({ predictor: rows[i], label: j });
        byId(byId("scatter").hidden ? "ranking" : "scatter").scrollIntoView({ behavior: "smooth" });
      },
    };
    byId("heat-table").replaceChildren(heatMap(spec));
  };
  filtered.push(show);
  order.addEventListener("change", show);
  measure.addEventListener("change", show);
  show();
}

function showAmong() {
  const found = bench.agreement;
  if (!found) {
    byId("among").hidden = true;
    return;
  }
  const sample = found.n < found.total ? `a sample of ${whole(found.n)} of ${whole(found.total)}` : whole(found.n);
  byId("among-note").textContent =
    `Kendall's τ-b of every two over ${sample} architectures, each turned so that more is better; similar ones stand side by side. ` +
    "Two that agree almost wholly are one opinion, not two.";
  const kinds = new Map(predictors.map(({ name, kind }) => [name, kind]));
  const show = () => {
    const passing = new Set(shownPredictors().map((p) => predictors[p].name));
    const at = [...found.names.keys()].filter((i) => passing.has(found.names[i]));
    const heads = at.map((i) => ({ name: found.names[i], className: kinds.get(found.names[i]) }));
    const cell = (i, j) => {
      const tau = found.tau[at[i]][at[j]];
      const text = tau === null ? "unknown" : decimal(tau);
      return i === j ? null : { value: tau, text: tau === null ? "–" : text, hint: `${heads[i].name} and ${heads[j].name}: τ-b ${text}` };
    };
    const spec = { rows: heads, columns: heads, isCompact: heads.length > 14, isTurned: true, cell, reading: byId("among-reading"), idle: "Point at a cell to read it." };
    byId("among-table").replaceChildren(heatMap(spec));
    byId("among-table").firstChild.classList.add("square");
  };
  filtered.push(show);
  show();
}

function showStrata() {
  if (!bench.strata.length) {
    byId("strata").hidden = true;
    return;
  }
  const rows = bench.strata.map((row) => Object.fromEntries(bench.strata_columns.map((name, i) => [name, row[i]])));
  const fields = [...new Set(rows.map(({ within }) => within))];
  const label = select("label", labels.map(({ name }, i) => [String(i), name]), "0");
  const field = select("within", fields.map((name) => [name, name]), fields[0]);
  byId("strata-controls").append(el("label", {}, "label ", label), el("label", {}, "within ", field));
  byId("strata-note").textContent =
    "Kendall's τ-b among architectures of equal value only, where a predictor cannot live off that value. The mean weighs each value by its " +
    "architectures; values with fewer than four have no τ-b. The column of all architectures is there to compare.";
  const show = () => {
    const own = rows.filter((row) => row.within === field.value && row.label === Number(label.value));
    const names = [...new Set(own.map(({ stratum }) => stratum))].filter((name) => name !== null);
    const entry = (p, name) => own.find((row) => row.predictor === p && row.stratum === name);
    const columns = [
      { name: "all", of: (p) => ({ ...pairOf(p, Number(label.value)) }) },
      { name: "mean within", of: (p) => entry(p, null) },
      ...names.map((name) => ({ name: `${field.value} ${name}`, of: (p) => entry(p, name) })),
    ];
    const order = shownPredictors().sort((a, b) => (columns[1].of(b).tau ?? -2) - (columns[1].of(a).tau ?? -2));
    const most = (column) => Math.max(...predictors.map((_, p) => column.of(p).n));
    const spec = {
      rows: order.map((p) => ({ name: predictors[p].name, className: predictors[p].kind })),
      columns: columns.map((column) => ({ name: `${column.name} (${whole(most(column))})`, hint: plural(most(column), "architecture", "architectures") })),
      cell: (i, j) => {
        const { tau, tau_low: low, tau_high: high, n } = columns[j].of(order[i]);
        const where = j > 1 ? `where ${columns[j].name.replace(/ (\S+)$/, " is $1")}` : j ? `within ${field.value}` : "over all";
        return { value: tau, text: tau === null ? "–" : decimal(tau), hint: `${predictors[order[i]].name}, ${where}: ${between(tau, low, high)}, n = ${whole(n)}` };
      },
      reading: byId("strata-reading"),
      idle: "Point at a cell to read its interval.",
    };
    byId("strata-table").replaceChildren(heatMap(spec));
  };
  filtered.push(show);
  label.addEventListener("change", show);
  field.addEventListener("change", show);
  show();
}

// Sections without axes: failures, time, rank correlations, and how the search was set up. Tables are made in lines.js.

function showFailures() {
  const holder = byId("failures-content");
  if (!data.failures.length) {
    holder.append(el("p", { class: "note", text: data.total ? "None: every score that was computed has a value." : "None so far." }));
    return;
  }
  const rows = data.failures.map(({ status, scores, error, texts, count, example }) => {
    const about = texts > 1 ? `${whole(texts)} texts that differ in numbers; one of them` : "";
    const show = () => {
      byId("scatter-panel").replaceChildren(card(example, "example of a failure", firstShown(), "div"));
      byId("scatter").scrollIntoView({ behavior: "smooth" });
    };
    return el(
      "tr",
      {},
      el("td", { class: "count", text: whole(count) }),
      el("td", {}, el("span", { class: "tag failed", text: status }), el("br"), el("span", { class: "muted", text: scores.join(", ") })),
      el("td", {}, about ? el("p", { class: "muted", text: about }) : null, el("pre", { text: error || "no further text" })),
      el(
        "td",
        {},
        example === null
          ? null
          : [
              el("code", {}, ...breakable(textOf(example))),
              el("br"),
              byId("scatter").hidden ? null : el("button", { type: "button", class: "copy", text: "draw it", onclick: show }),
            ],
      ),
    );
  });
  holder.append(
    el("p", { class: "note", text: "Architectures without a value, by status and reason, the most frequent first." }),
    el(
      "table",
      { class: "failures" },
      el("thead", {}, el("tr", {}, ...["architectures", "status", "reason", "example"].map((text) => el("th", { scope: "col", text })))),
      el("tbody", {}, ...rows),
    ),
  );
}

function bar(title, entries, total) {
  const shown = entries.filter(({ seconds }) => seconds > 0);
  const pieces = shown.map(({ seconds, style, name }) =>
    el("i", { class: "piece", style: `flex:${seconds} 0 0;${style}`, title: `${name}: ${duration(seconds)}` }),
  );
  const keys = shown.map(({ seconds, style, name }) => {
    const share = (100 * seconds) / total;
    return el(
      "li",
      {},
      el("i", { class: "swatch", style }),
      el("span", { text: name }),
      el("b", { text: `${duration(seconds)}, ${share < 1 ? "< 1" : Math.round(share)} %` }),
    );
  });
  return el("div", { class: "bar" }, el("h3", { text: `${title}: ${duration(total)}` }), el("div", { class: "pieces", "aria-hidden": "true" }, ...pieces), el("ul", {}, ...keys));
}

function showTime() {
  const { workers, driver, sentence } = data.time;
  byId("time-note").textContent = sentence + (workers.length > 1 ? " What several scores share, such as building the network, is counted with the first of them." : "");
  const holder = byId("time-bars");
  const fill = (i) => `background:var(--part-${i % 6})`;
  const striped = (i) => `background:repeating-linear-gradient(45deg,var(--part-${i % 6}) 0 3px,var(--stripe) 3px 6px)`;
  const scored = workers.flatMap(({ name, build, rest }, i) => [
    { name: `${name}, building networks`, seconds: build, style: striped(i) },
    { name, seconds: rest, style: fill(i) },
  ]);
  const sum = (entries) => entries.reduce((total, { seconds }) => total + seconds, 0);
  if (sum(scored)) holder.append(bar("Scoring, on the workers", scored, sum(scored)));
  const driven = driver.map(({ name, what, seconds }, i) => ({ name: `${name}: ${what}`, seconds, style: name === "wait" ? "background:var(--idle)" : fill(i) }));
  if (sum(driven)) holder.append(bar("The driver, in its last session", driven, sum(driven)));
}

function showCorrelation() {
  const table = data.correlation;
  if (!table) {
    byId("correlation").hidden = true;
    return;
  }
  const sample = table.n < table.total ? `a sample of n = ${whole(table.n)} of ${whole(table.total)}` : `n = ${whole(table.n)}`;
  byId("correlation-note").textContent =
    `Kendall's τ-b of raw values over ${sample} ${data.noun ? data.noun[1] : "architectures"}: 1 where two scores rank alike, −1 where one is the reverse of the other. ` +
    "Raw means that scores of which lower is better are not turned round.";
  const rows = table.names.map((name, i) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, ...breakable(titleOf(name))),
      ...table.tau[i].map((tau, j) => {
        if (i === j) return el("td", { class: "self", text: "·" });
        if (tau === null) return el("td", { text: "–", title: "constant, or too few values" });
        const strength = Math.round(70 * Math.abs(tau));
        const style = `background:color-mix(in srgb, var(--${tau < 0 ? "minus" : "plus"}) ${strength}%, transparent)`;
        return el("td", { style, text: withSign(tau.toFixed(2).replace("-0.00", "0.00")) });
      }),
    ),
  );
  const head = el("tr", {}, el("td"), ...table.names.map((name) => el("th", { scope: "col" }, ...breakable(titleOf(name)))));
  byId("correlation-table").append(el("table", { class: "matrix" }, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function showSetup() {
  for (const { title, rows } of data.groups) {
    const entries = rows.map(([term, text]) => el("div", {}, el("dt", {}, ...breakable(term)), el("dd", { text })));
    byId("setup-groups").append(el("div", { class: "group" }, el("h3", { text: title }), el("dl", {}, ...entries)));
  }
}

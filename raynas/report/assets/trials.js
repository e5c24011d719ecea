// The page of trainings side by side: their curves, their ranking, and what scores or settings say of them.

const TOP1 = "top-1 (%)";
const trials = data.trials;
const isSearched = data.noun[0] === "finalist";
const ENDS = {
  stopped: { shape: "cross", name: "failed" },
  failed: { shape: "diamond", name: "infeasible" },
  running: { shape: "circle", name: "failed" },
  interrupted: { shape: "circle", name: "failed" },
  killed: { shape: "circle", name: "failed" },
};

function showTrials() {
  const begun = trials.map((trial, point) => ({ ...trial, point })).filter(({ at }) => at.length);
  const note = byId("trainings-note");
  if (!begun.length) {
    note.textContent = "No epoch is finished yet.";
    byId("trainings-legend").remove();
    return;
  }
  // The first six by accuracy have a colour and are read by the cursor; more could not be told apart.
  const lines = begun.map(({ name, at, top1, status }, k) => ({
    name,
    style: k < MAX_STYLES ? k : "series-quiet",
    isThin: k >= MAX_STYLES,
    at,
    values: top1,
    end: ENDS[status],
  }));
  const last = Math.max(...begun.map(({ epochs, at }) => Math.max(epochs || 0, at[at.length - 1])));
  byId("trainings-plot").append(lineFigure({ title: "top-1, %", lines, x: "epochs", unit: "epoch", last, height: 0.4, format: (value) => `${value.toFixed(2)} %` }));
  const has = (status) => begun.some((trial) => trial.status === status);
  byId("trainings-legend").append(
    ...(has("stopped") ? [legendEntry("cross", "failed", "stopped early")] : []),
    ...(has("failed") ? [legendEntry("diamond", "infeasible", "failed")] : []),
    ...(has("running") ? [legendEntry("circle", "failed", "still running")] : []),
    ...(has("interrupted") ? [legendEntry("circle", "failed", "interrupted")] : []),
    ...(has("killed") ? [legendEntry("circle", "failed", "killed")] : []),
    ...(begun.length > MAX_STYLES ? [lineEntry("line series-quiet thin", "the others")] : []),
  );
  note.textContent = `Accuracy on the images to evaluate on, after each epoch; of the moving average of the weights, where there is one.${begun.length > MAX_STYLES ? ` The first ${MAX_STYLES} have names here.` : ""}`;
  if (data.comparison) note.append(" ", el("strong", { text: `${data.comparison[0].toUpperCase()}${data.comparison.slice(1)}.` }));
}

function showRanking() {
  if (!trials.length) {
    byId("trials").hidden = true;
    return;
  }
  const score = ({ name }) => ({ title: titleOf(name), isNumber: true, cell: (_, point) => shownValue(name, columns.get(name).values[point]) });
  const made = [
    { title: "", isNumber: true, cell: (_, i) => (columns.get(TOP1).values[i] === null ? "–" : whole(i + 1)) },
    { title: data.noun[0], cell: ({ name, folder, has_report: hasReport }) => folderLink(folder, hasReport, name) },
    ...data.scores.map(score),
    { title: "epochs done", isNumber: true, cell: ({ epochs_done: done, epochs }) => (epochs && epochs !== done ? `${whole(done)} of ${whole(epochs)}` : whole(done)) },
    { title: "status", cell: ({ status, error }) => [el("span", { text: status === "stopped" ? "stopped early" : status }), error ? el("p", { class: "reason", text: error }) : null].filter(Boolean) },
    { title: isSearched ? "architecture" : "settings", cell: (_, point) => genotype(textOf(point)) },
  ];
  byId("trials-table").append(rowsTable(made, trials));
  const stopped = trials.some(({ status }) => status === "stopped");
  byId("trials-note").textContent = [
    isSearched ? "The search's scores stand beside what training found." : "",
    stopped ? "Those that were stopped early had fewer epochs, so their top-1 is not that of a whole training." : "",
  ].join(" ");
}

// Kendall's tau-b of the two columns that the scatter plot shows.
function showAgreement() {
  if (byId("scatter").hidden || !data.correlation) return;
  const said = el("p", { class: "note", id: "scatter-tau" });
  byId("scatter-note").after(said);
  const [up, across] = byId("scatter-controls").querySelectorAll("select");
  const show = () => {
    const { names, tau, n } = data.correlation;
    const [i, j] = [names.indexOf(up.value), names.indexOf(across.value)];
    const value = i < 0 || j < 0 || i === j ? null : tau[i][j];
    said.replaceChildren(
      value === null ? "No rank correlation of these two." : el("strong", { text: `Kendall's τ-b ${withSign(value.toFixed(2).replace("-0.00", "0.00"))}` }),
      value === null ? "" : ` between ${titleOf(across.value)} and ${titleOf(up.value)}, over ${plural(n, ...data.noun)}.`,
    );
  };
  up.addEventListener("change", show);
  across.addEventListener("change", show);
  show();
}

byId("setup-title").textContent = "How they were trained";
if (isSearched) {
  byId("best-title").textContent = "The architectures";
} else {
  byId("scatter-title").textContent = "Accuracy and settings";
  byId("correlation-title").textContent = "What goes with accuracy?";
}
showHead(data.facts);
showTrials();
showRanking();
showNext();
if (isSearched) showArchitectures(); // else all have the same one
showScatter();
showAgreement();
showCorrelation();
showSetup();
showNavigation();

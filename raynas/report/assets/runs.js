// The list of the runs below a folder, which follows them.

const LOOKS_MS = 2000, LOOKS_LATER_MS = 5000;
const ticked = new Set();
let rows = data.runs, shownAt = 0;
const ORDERS = {
  "what is running": (a, b) => (b.status === "running") - (a.status === "running") || latestFirst(a, b),
  latest: (a, b) => latestFirst(a, b),
  name: (a, b) => (a.name < b.name ? -1 : 1),
  kind: (a, b) => (a.kind || "").localeCompare(b.kind || "") || latestFirst(a, b),
};

function latestFirst(a, b) {
  return (b.written || "").localeCompare(a.written || "") || (a.name < b.name ? -1 : 1);
}

function ago(written) {
  if (!written) return "";
  const seconds = Math.max(0, (Date.now() - Date.parse(`${written.replace(" ", "T")}Z`)) / 1000);
  return seconds < 5 ? "now" : seconds < 172800 ? `${duration(Math.round(seconds)).replace(/ \d\d s$/, "")} ago` : written.slice(0, 16);
}

function runRow(run) {
  const { name, link, kind, space, status, progress, share, found, written, error } = run;
  const box = el("input", { type: "checkbox", name: "run", value: name, checked: ticked.has(name), disabled: status === "unreadable", "aria-label": `compare ${name}` });
  box.addEventListener("change", () => {
    if (box.checked) ticked.add(name);
    else ticked.delete(name);
    showTicked();
  });
  const [style, text] = STATUS[status] || ["bad", status];
  const isGoing = status === "running";
  return el(
    "tr",
    { "data-run": name, "data-status": status },
    el("td", { class: "tick" }, box),
    el("td", { class: "name wide" }, el("a", { href: link }, ...breakable(name)), error ? el("p", { class: "reason", text: error }) : null),
    el("td", { class: "state" }, el("span", { class: `status ${style}`, title: text, text: status })),
    el("td", { class: "wide kind" }, [kind, space].filter(Boolean).join(" · ")),
    el("td", { class: "wide" }, (progress || "").split(", ").flatMap((part, i) => [i ? ", " : "", el("span", { class: "whole", text: part })]), isGoing && share !== null ? el("div", { class: "track" }, el("i", { style: `width:${100 * share}%` })) : null),
    el("td", { class: "wide", text: found || "" }),
    el("td", { class: "when", title: written ? `${written} UTC` : null, text: ago(written) }),
  );
}

function showRuns() {
  shownAt = Date.now();
  const words = byId("runs-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = rows.filter((run) => words.every((word) => [run.name, run.kind, run.space, run.status, run.found].some((text) => (text || "").toLowerCase().includes(word))));
  shown.sort(ORDERS[byId("runs-order").value]);
  const focused = document.activeElement.closest?.("tr")?.dataset.run;
  const titles = ["", "run", "status", "kind", "progress", "found", "last written"];
  const table = byId("runs-table");
  table.hidden = !shown.length;
  table.replaceChildren(el("thead", {}, el("tr", {}, ...titles.map((text) => el("th", { scope: "col", text })))), el("tbody", {}, ...shown.map(runRow)));
  if (focused) [...table.querySelectorAll("tr")].find(({ dataset }) => dataset.run === focused)?.querySelector("input, a")?.focus();
  const going = rows.filter(({ status }) => status === "running").length;
  byId("status").className = `status ${going ? "open" : "good"}`;
  byId("status").textContent = going ? `${whole(going)} running` : "none is running";
  byId("headline").textContent = rows.length ? plural(rows.length, "run", "runs") : "No run yet: they are shown here as they begin.";
  if (shown.length < rows.length) byId("headline").textContent += `, of which ${whole(shown.length)} ${shown.length === 1 ? "is" : "are"} shown`;
  showTicked();
}

function showTicked() {
  for (const name of ticked) if (!rows.some((run) => run.name === name && run.status !== "unreadable")) ticked.delete(name);
  byId("runs-ticked").textContent = ticked.size ? `${plural(ticked.size, "run", "runs")} ticked` : "tick runs to compare them";
  byId("runs-compare").disabled = ticked.size < 2 || ticked.size > data.most;
  byId("runs-compare").title = ticked.size > data.most ? `up to ${data.most} runs are compared at once` : "";
}

async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch("runs.json", { cache: "no-store" });
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.error);
      byId("runs-note").textContent = "";
      // Not more often than there is news, as a new table would be lost to whoever marks its text.
      if (JSON.stringify(found.runs) !== JSON.stringify(rows) || Date.now() - shownAt > 30000) {
        rows = found.runs;
        showRuns();
      }
    } catch (error) {
      byId("runs-note").textContent = error instanceof TypeError ? "The server does not answer; what is shown is of before." : error.message;
    }
  }
  setTimeout(look, rows.some(({ status }) => status === "running") ? LOOKS_MS : LOOKS_LATER_MS);
}

// A run that the filter hides is compared too, if it is ticked.
byId("runs-form").addEventListener("submit", (event) => {
  event.preventDefault();
  location.href = `compare?${[...ticked].map((name) => `run=${encodeURIComponent(name)}`).join("&")}`;
});
byId("runs-order").append(...Object.keys(ORDERS).map((text) => el("option", { value: text, text })));
byId("runs-filter").addEventListener("input", showRuns);
byId("runs-order").addEventListener("change", showRuns);
showHead([]);
byId("nav").hidden = byId("counts").hidden = true;
showRuns();
look();

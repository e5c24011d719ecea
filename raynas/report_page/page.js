// The head of the page, then its sections.

const STATUS = {
  completed: ["good", "completed"],
  exhausted: ["good", "completed: the space has no more"],
  running: ["open", "running, or stopped without a word"],
  interrupted: ["open", "interrupted"],
  failed: ["bad", "failed"],
  unknown: ["open", "no summary was written"],
};

function showHead() {
  byId("title").textContent = data.title;
  byId("headline").textContent = data.headline;
  byId("subline").textContent = data.subline;
  const [kind, text] = STATUS[data.status.name] || ["open", data.status.name];
  byId("status").className = `status ${kind}`;
  byId("status").textContent = text;
  if (data.status.error) byId("notice").append(el("pre", { class: "error", text: data.status.error }));
  if (data.status.resume) {
    byId("notice").append(el("p", { class: "resume" }, "Continue with ", el("code", { text: data.status.resume }), " ", copyButton(data.status.resume)));
  }
  const { evaluations, budget, distinct, infeasible, failed, reused, duration: lasted, per_s: perSecond } = data.counts;
  const entries = [
    ["evaluations", budget && budget !== evaluations ? `${whole(evaluations)} of ${whole(budget)}` : whole(evaluations)],
    ["distinct", whole(distinct)],
    ["failed", whole(failed)],
    ["infeasible", infeasible ? whole(infeasible) : null],
    ["reused", whole(reused)],
    ["duration", lasted],
    ["per second", perSecond ? number(perSecond, 3) : null],
  ];
  if (data.objectives.length > 1) entries.unshift(["on the front", whole(data.front_size)]);
  else if (data.objectives.length && data.rankings.length) {
    const { name } = data.objectives[0];
    entries.unshift([`best ${name}`, shownValue(name, columns.get(name).values[data.rankings[0].members[0]])]);
  }
  byId("counts").append(...entries.filter(([, value]) => value !== null).map(([term, value]) => el("div", {}, el("dt", { text: term }), el("dd", { text: value }))));
}

function showNavigation() {
  for (const section of document.querySelectorAll("main > section")) {
    if (!section.hidden) byId("nav").append(el("a", { href: `#${section.id}`, text: section.dataset.short || section.querySelector("h2").textContent }));
  }
}

showHead();
showArchitectures();
showScatter();
showProgress();
showPolicy();
showFailures();
showCorrelation();
showTime();
showSetup();
showNavigation();

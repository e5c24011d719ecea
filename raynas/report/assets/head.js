// The head of the page, and the links to its sections.

const STATUS = {
  completed: ["good", "completed"],
  exhausted: ["good", "completed: the space has no more"],
  running: ["open", "running"],
  killed: ["bad", "killed: no process works on it any more"],
  interrupted: ["open", "interrupted"],
  failed: ["bad", "failed"],
  unknown: ["open", "no summary was written"],
};

// Title, status and the figures that matter most: pairs of a term and a text, which is null where there is none.
function showHead(entries) {
  byId("title").textContent = data.title;
  byId("headline").textContent = data.headline;
  byId("subline").textContent = data.subline;
  const [kind, text] = STATUS[data.status.name] || ["open", data.status.name];
  byId("status").className = `status ${kind}`;
  byId("status").textContent = data.status.text || text;
  if (data.status.error) byId("notice").append(el("pre", { class: "error", text: data.status.error }));
  if (data.status.written) {
    const hint = data.live ? "and this page follows it" : "and writing its page again shows what has come since";
    const more = data.status.name === "running" ? `; the run goes on, ${hint}` : "";
    byId("notice").append(el("p", { class: "written muted", text: `As of ${data.status.written}${more}.` }));
  }
  if (data.status.resume) {
    byId("notice").append(el("p", { class: "resume" }, "Continue with ", el("code", { text: data.status.resume }), " ", copyButton(data.status.resume)));
  }
  byId("counts").append(...entries.filter(([, value]) => value !== null).map(([term, value]) => el("div", {}, el("dt", { text: term }), el("dd", { text: value }))));
}

function showNavigation() {
  for (const section of document.querySelectorAll("main > section")) {
    if (!section.hidden) byId("nav").append(el("a", { href: `#${section.id}`, text: section.dataset.short || section.querySelector("h2").textContent }));
  }
}

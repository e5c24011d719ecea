// On a page that is served: how its runs stand now, and the page again once they have changed.

const LOOKS_MS = 2000, LOOKS_LATER_MS = 15000, LEAST_MS = 4000, QUIET_MS = 2500;

function showLive() {
  const { live } = data;
  const kept = `raynas:${location.pathname}${location.search}`;
  const words = el("span", { role: "status" });
  const track = el("i", {});
  const bar = el("div", { class: "live" }, el("a", { href: live.home, text: "← all runs" }), words, el("div", { class: "track", hidden: true }, track));
  document.querySelector("header").prepend(bar);
  let touched = 0;
  const opened = Date.now();
  for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) addEventListener(kind, () => (touched = Date.now()), { passive: true });

  // What a reader has chosen outlives the page.
  const chosen = () => [...document.querySelectorAll("main select, main details")];
  const keep = () => sessionStorage.setItem(kept, JSON.stringify({ at: scrollY, chosen: chosen().map((node) => (node.tagName === "SELECT" ? node.value : node.open)) }));
  const restore = () => {
    const before = JSON.parse(sessionStorage.getItem(kept) || "null");
    sessionStorage.removeItem(kept);
    if (!before) return;
    chosen().forEach((node, i) => {
      const value = before.chosen[i];
      if (node.tagName === "DETAILS") node.open = value === true;
      else if (value !== node.value && [...node.options].some((option) => option.value === value)) {
        node.value = value;
        node.dispatchEvent(new Event("change"));
      }
    });
    scrollTo(0, before.at);
  };

  const show = ({ runs }) => {
    bar.classList.remove("lost");
    const going = runs.filter(({ status }) => status === "running");
    const shares = going.map(({ share }) => share).filter((share) => share !== null);
    track.parentElement.hidden = !shares.length;
    if (shares.length) track.style.width = `${100 * Math.min(...shares)}%`;
    const one = runs.length === 1 ? runs[0] : null;
    const left = Math.max(...going.map((run) => (run.left_s === null ? -1 : run.left_s)));
    if (!going.length) words.textContent = one ? (STATUS[one.status] || ["", one.status])[1] : "all runs have ended";
    else if (one) words.textContent = one.progress || "running; nothing is finished yet";
    else words.textContent = `${plural(going.length, "run goes", "runs go")} on${left > 0 ? `, about ${duration(Math.max(1, Math.round(left)))} left` : ""}`;
    return going.length > 0;
  };

  const look = async () => {
    let wait = LOOKS_MS;
    if (!document.hidden) {
      try {
        const answer = await fetch(live.state, { cache: "no-store" });
        if (answer.status === 404) throw new Error("The run is not there any more; what is shown is what was there.");
        if (!answer.ok) throw new Error(`The server answers ${answer.status}; what is shown is of before.`);
        const state = await answer.json();
        const isGoing = show(state);
        const now = Date.now();
        const isQuiet = now - opened > LEAST_MS && now - touched > QUIET_MS && getSelection().isCollapsed && document.activeElement.tagName !== "SELECT";
        if (state.version !== live.version && isQuiet) {
          keep();
          location.reload();
          return;
        }
        wait = isGoing || state.version !== live.version ? LOOKS_MS : LOOKS_LATER_MS;
      } catch (error) {
        bar.classList.add("lost");
        words.textContent = error instanceof TypeError ? "The server does not answer; what is shown is of before." : error.message;
        wait = LOOKS_MS * 2;
      }
    }
    setTimeout(look, wait);
  };
  show(live);
  restore();
  look();
}

if (data.live) showLive();

// On a page that is served: how its runs stand, and the page drawn anew once they have changed, as the reader left it.

const LOOKS_MS = 2000, LOOKS_LATER_MS = 15000, LEAST_MS = 4000, QUIET_MS = 2500;
const REACHED = "a[href], button, summary, select, input, [tabindex]";

function showLive() {
  const { live } = data;
  const words = el("span", { role: "status" });
  const track = el("i", {});
  const newer = el("button", { type: "button", text: "show what has come since", hidden: true, onclick: () => renew().catch(lost) });
  const bar = el("div", { class: "live", id: "live" }, el("a", { href: live.home, text: "← all runs" }), words, newer, el("div", { class: "track", hidden: true }, track));
  document.querySelector("header").prepend(bar);
  const activity = readerActivity();

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

  const lost = (error) => {
    bar.classList.add("lost");
    words.textContent = error instanceof TypeError ? "The server does not answer; what is shown is of before." : error.message;
  };

  const look = async () => {
    let wait = LOOKS_MS;
    if (!document.hidden) {
      try {
        const state = await (await answered(live.state)).json();
        if (lifetime.signal.aborted) return;
        const isNew = state.version !== live.version;
        if (isNew && activity.isIdle()) return await renew();
        // What is newer than the page is not told beside it: whoever is busy with the page asks for it.
        newer.hidden = !isNew;
        const isGoing = show(isNew ? live : state);
        wait = isGoing || isNew ? LOOKS_MS : LOOKS_LATER_MS;
      } catch (error) {
        if (lifetime.signal.aborted) return;
        lost(error);
        wait = LOOKS_MS * 2;
      }
    }
    setTimeout(look, wait);
  };
  show(live);
  restore();
  setTimeout(look, LOOKS_MS);
}

async function answered(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (answer.status === 404) throw new Error("The run is not there any more; what is shown is what was there.");
  if (!answer.ok) throw new Error(`The server answers ${answer.status}; what is shown is of before.`);
  return answer;
}

// Whether somebody is at work on the page: it is not drawn anew under a pointer that moves, a list that is open, or a
// text that is selected.
function readerActivity() {
  const opened = Date.now();
  let touched = 0, list = null;
  const listen = (kind, heard) => addEventListener(kind, heard, { passive: true, signal: lifetime.signal });
  for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) listen(kind, () => (touched = Date.now()));
  listen("pointerdown", ({ target }) => (list = target.tagName === "SELECT" ? target : null));
  listen("change", () => (list = null));
  const isIdle = () => Date.now() - opened > LEAST_MS && Date.now() - touched > QUIET_MS && getSelection().isCollapsed && (!list || list !== document.activeElement);
  return { isIdle };
}

// The page as it is now, in place of this one, by the same script: browsers run no other one here.
async function renew() {
  const page = new DOMParser().parseFromString(await (await answered(location.href)).text(), "text/html");
  if (lifetime.signal.aborted) return;
  keep();
  const script = document.querySelector("body > script:not([type])"), next = el("script", { text: page.querySelector("body > script:not([type])").textContent });
  if (next.textContent !== script.textContent) {
    location.reload(); // the server is of another version of raynas
    return;
  }
  lifetime.abort();
  document.title = page.title;
  for (const part of ["header", "main", "#data"]) document.querySelector(part).replaceWith(page.querySelector(part));
  script.replaceWith(next);
}

// -- what a reader has done, which outlives the page ------------------------------------------------------------------

function keptUnder() {
  return `raynas:${location.pathname}${location.search}`;
}

// Where a node is: the nearest element that has a name, and its number among those of its sort in there.
function addressOf(node, sort) {
  const part = node.closest("[id]");
  return part && [part.id, part === node ? -1 : [...part.querySelectorAll(sort)].indexOf(node)];
}

function nodeAt(address, sort) {
  const part = address && byId(address[0]);
  return part && (address[1] < 0 ? part : part.querySelectorAll(sort)[address[1]]);
}

const CONTROLS = "main select, main input, main details";
const valueNow = (node) => (node.tagName === "SELECT" ? (node.selectedOptions[0] || {}).text : node.tagName === "DETAILS" ? node.open : node.value);
let initialValues = new Map();

function setValue(node, value) {
  if (node.tagName === "DETAILS") node.open = value;
  else if (node.tagName === "SELECT") {
    const option = [...node.options].find(({ text }) => text === value);
    if (!option) return;
    option.selected = true;
    node.dispatchEvent(new Event("change"));
  } else {
    node.value = value;
    node.dispatchEvent(new Event("input"));
  }
}

function keep() {
  const section = [...document.querySelectorAll("main > section")].findLast((one) => !one.hidden && one.getBoundingClientRect().top <= 0);
  const changed = [...document.querySelectorAll(CONTROLS)].filter((node) => valueNow(node) !== initialValues.get(node));
  const state = {
    top: section ? [section.id, section.getBoundingClientRect().top] : ["", scrollY],
    aside: [...document.querySelectorAll(".scrolled")].filter((node) => node.scrollLeft).map((node) => [addressOf(node, ".scrolled"), node.scrollLeft]),
    controls: changed.map((node) => [addressOf(node, CONTROLS), valueNow(node)]),
    remembered: [...remembered].map(([name, { read }]) => [name, read()]).filter(([, value]) => value !== null),
    focus: document.activeElement === document.body ? null : addressOf(document.activeElement, REACHED),
  };
  sessionStorage.setItem(keptUnder(), JSON.stringify(state));
}

function restore() {
  initialValues = new Map([...document.querySelectorAll(CONTROLS)].map((node) => [node, valueNow(node)]));
  const before = JSON.parse(sessionStorage.getItem(keptUnder()) || "null");
  sessionStorage.removeItem(keptUnder());
  if (!before) return;
  for (const [address, value] of before.controls) {
    const node = nodeAt(address, CONTROLS);
    if (node) setValue(node, value);
  }
  for (const [name, value] of before.remembered) if (remembered.has(name)) remembered.get(name).restore(value);
  for (const [address, left] of before.aside) {
    const node = nodeAt(address, ".scrolled");
    if (node) node.scrollLeft = left;
  }
  const focused = nodeAt(before.focus, REACHED);
  if (focused) focused.focus({ preventScroll: true });
  const section = byId(before.top[0]);
  scrollTo(0, section ? scrollY + section.getBoundingClientRect().top - before.top[1] : before.top[1]);
}

if (data.live) showLive();

// Architectures, as pictures and as the cards of a search's page that hold them with their scores.
// A picture: stages as boxes on one scale for the whole page, with their decisions below.

const BOX = { width: 180, height: 74, kernel: 31, side: 44, lean: 0.45, rise: 0.34 };

const stageScale = (() => {
  let side = 1, length = 1;
  for (const stage of points.stage_table) {
    side = Math.max(side, Math.sqrt(stage.tokens));
    length = Math.max(length, stage.width * stage.depth);
  }
  return { side: BOX.side / side, length: (BOX.width - BOX.kernel - BOX.side * BOX.lean - 4) / length };
})();

// The first number of a text such as "4, stride 2"; null if it does not begin with one.
function leading(text) {
  const match = /^-?\d+(\.\d+)?/.exec(String(text));
  return match ? Number(match[0]) : null;
}

function detail(stage, ...names) {
  const name = names.find((known) => known in stage.details);
  return name === undefined ? null : stage.details[name];
}

function stageBox(stage) {
  const { height, kernel } = BOX;
  const side = Math.max(2.5, Math.sqrt(stage.tokens) * stageScale.side);
  const [lean, rise] = [side * BOX.lean, side * BOX.rise];
  const room = Math.max(2, stage.width * stageScale.length);
  const gap = stage.depth > 1 ? Math.min(2, room / 3) : 0;
  const bottom = height - 5, top = bottom - side;
  const shapes = [];
  for (let block = 0; block < stage.depth; block++) {
    const left = kernel + block * room, right = left + room - gap;
    shapes.push(
      svg("path", { class: "box-top", d: `M${left},${top} l${lean},${-rise} H${right + lean} L${right},${top} Z` }),
      svg("path", { class: "box-end", d: `M${right},${top} l${lean},${-rise} v${side} L${right},${bottom} Z` }),
      svg("path", { class: "box-front", d: `M${left},${top} H${right} V${bottom} H${left} Z` }),
    );
    const heads = leading(detail(stage, "heads", "num_heads"));
    if (heads > 1 && (right - left) / heads >= 1.5) {
      let cuts = "";
      for (let i = 1; i < heads; i++) cuts += `M${left + ((right - left) * i) / heads},${bottom} v${-side} l${lean},${-rise} `;
      shapes.push(svg("path", { class: "box-cut", d: cuts }));
    }
    if (block === stage.depth - 1) shapes.push(windowCuts(stage, right, top, side, lean, rise));
  }
  return svg(
    "svg",
    { class: "stage-box", viewBox: `0 0 ${BOX.width} ${height}`, "aria-hidden": "true" },
    kernelGrid(detail(stage, "kernel", "kernel_size", "patch_size"), bottom),
    ...shapes,
  );
}

// Attention windows, as panes of the end of the box, which is the map of tokens.
function windowCuts(stage, right, top, side, lean, rise) {
  const window = leading(detail(stage, "window", "window_size"));
  const panes = window ? Math.round(Math.sqrt(stage.tokens) / window) : 1;
  if (panes < 2 || (side * BOX.lean) / panes < 1.6) return null;
  let cuts = "";
  for (let i = 1; i < panes; i++) {
    cuts += `M${right + (lean * i) / panes},${top - (rise * i) / panes} v${side} `;
    cuts += `M${right},${top + (side * i) / panes} l${lean},${-rise} `;
  }
  return svg("path", { class: "box-cut strong", d: cuts });
}

// What one token sees of the map before: kernel cells, those of one stride filled, so that overlap shows.
function kernelGrid(text, bottom) {
  const kernel = leading(text);
  if (!kernel || kernel > 32) return null;
  const stride = Number((/stride (\d+)/.exec(text) || [])[1] || kernel);
  const step = Math.min(3.2, (BOX.kernel - 5) / kernel);
  const cells = [];
  for (let row = 0; row < kernel; row++) {
    for (let column = 0; column < kernel; column++) {
      const isCore = row >= kernel - stride && column < stride;
      cells.push(
        svg("rect", {
          class: isCore ? "cell core" : "cell",
          x: column * step,
          y: bottom - (kernel - row) * step,
          width: step - 0.5,
          height: step - 0.5,
        }),
      );
    }
  }
  return svg("g", {}, ...cells);
}

// The picture's table: a name, and a text for each of the columns.
function tableOf(point) {
  if (points.stages) {
    const stages = points.stages[point].map((number) => points.stage_table[number]);
    const names = [...new Set(stages.flatMap((stage) => Object.keys(stage.details)))];
    return { stages, rows: names.map((name) => [name, stages.map((stage) => stage.details[name] ?? "")]) };
  }
  const text = (value) => (Array.isArray(value) ? value.join("×") : String(value));
  return {
    stages: null,
    rows: fieldsOf(point).map(([name, value]) => [name, Array.isArray(value) ? value.map(text) : [text(value)]]),
  };
}

const largest = (() => {
  const found = new Map();
  const note = (name, text) => found.set(name, Math.max(found.get(name) || 0, Math.abs(leading(text) || 0)));
  for (const stage of points.stage_table) for (const [name, text] of Object.entries(stage.details)) note(name, text);
  if (!points.stages) {
    for (const [name, value] of points.field_table) for (const item of [value].flat()) note(name, item);
  }
  return found;
})();

function cell(name, text, reference, span) {
  const value = leading(text);
  const isOther = reference !== undefined && reference !== text;
  const base = leading(reference);
  const arrow = isOther && value !== null && base !== null && value !== base ? (value > base ? " ▴" : " ▾") : "";
  const share = value !== null && largest.get(name) > 0 ? (100 * Math.abs(value)) / largest.get(name) : null;
  return el(
    "td",
    { class: [span > 1 ? "wide" : "", isOther ? "other" : ""].join(" ").trim() || null, colspan: span > 1 ? span : null, title: isOther ? `${name}: ${text}; ${reference || "none"} in the first one` : null },
    el("span", {}, ...shortened(text, arrow)),
    share === null ? null : el("i", { class: "meter", style: `width:${share.toFixed(1)}%` }),
  );
}

// What follows the first number is left out where there is little room.
function shortened(text, arrow) {
  const match = /^(-?[\d.]+)(, .*)$/.exec(text);
  return match ? [match[1], el("span", { class: "rest", text: match[2] }), arrow] : [text + arrow];
}

function grid(side) {
  const root = Math.sqrt(side);
  return Number.isInteger(root) ? `${root}×${root}` : whole(side);
}

// The picture of a point; cells that differ from those of `reference` are marked.
function picture(point, reference) {
  const { stages, rows } = tableOf(point);
  const other = reference === null || reference === point ? new Map() : new Map(tableOf(reference).rows);
  const others = reference === null || reference === point || !stages ? null : tableOf(reference).stages;
  const width = Math.max(...rows.map(([, cells]) => cells.length), stages ? stages.length : 1);
  const body = rows.map(([name, cells]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, ...breakable(name)),
      ...cells.map((text, i) => cell(name, text, other.has(name) ? (other.get(name)[i] ?? "") : undefined, cells.length === 1 ? width : 1)),
      cells.length > 1 && cells.length < width ? el("td", { colspan: width - cells.length }) : null,
    ),
  );
  const caption = (stage) => `${stage.width} ch · ${grid(stage.tokens)}${stage.depth > 1 ? ` · ${stage.depth} blocks` : ""}`;
  const head = stages && [
    el("tr", { class: "boxes" }, el("td"), ...stages.map((stage) => el("td", {}, stageBox(stage)))),
    el(
      "tr",
      { class: "captions" },
      el("th", { scope: "row", text: "stage" }),
      ...stages.map((stage, i) => {
        const isOther = others && others[i] && caption(others[i]) !== caption(stage);
        return el("td", { class: isOther ? "other" : null, title: stage.name, text: caption(stage) });
      }),
    ),
  ];
  return el(
    "div",
    { class: "picture", tabindex: width > 6 ? "0" : null, role: "group", "aria-label": "Drawing" },
    el("table", { style: `--columns:${width}`, class: width > 6 ? "many" : null }, el("tbody", {}, ...(head || []), ...body)),
  );
}

// Long texts break after a separator, and names of several parts before a part.
function breakable(text) {
  return text.split(/(?<=[|,_])|(?<=[a-z]\.)(?=[a-z])/).flatMap((part) => [part, el("wbr")]);
}

// The text of an architecture breaks between its stages; within one only where that is wider than the line.
function genotypeParts(text) {
  return text.split(/(?<=\|)/).map((stage) => el("span", { class: "stage" }, ...breakable(stage)));
}

function copyButton(text) {
  const button = el("button", { type: "button", class: "copy", text: "copy", title: "Copy to the clipboard" });
  button.addEventListener("click", async () => {
    let isCopied = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = el("textarea", { class: "offscreen", "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      isCopied = document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = isCopied ? "copied" : "select it";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
  return button;
}

// Name, text, scores and picture of one point.
function card(point, label, reference, tag = "li") {
  const rows = data.scores.map(({ name, is_objective: isObjective }) =>
    el(
      "div",
      { class: isObjective ? "objective" : null },
      el("dt", { text: titleOf(name) }),
      el("dd", { text: shownValue(name, columns.get(name).values[point]) }),
    ),
  );
  const candidate = points.candidate[point];
  const failure = points.failure[point] >= 0 ? data.failures[points.failure[point]] : null;
  const text = textOf(point);
  return el(
    tag,
    { class: "architecture", "data-point": point },
    el(
      "div",
      { class: "identity" },
      el(
        "p",
        { class: "rank" },
        el("strong", { text: label }),
        el("span", { class: "muted", text: points.note ? points.note[point] : candidate < 0 ? "not among the candidates" : `candidate ${whole(candidate)}` }),
        points.state[point] === INFEASIBLE ? el("span", { class: "tag", text: "infeasible" }) : null,
        points.state[point] === PENDING && !points.note ? el("span", { class: "tag", text: "not scored yet" }) : null,
      ),
      el("p", { class: "genotype" }, el("code", {}, ...genotypeParts(text)), copyButton(text)),
      el("dl", { class: "scores" }, ...rows),
      uniformBeside(point),
      failure && points.state[point] === FAILED
        ? el("p", { class: "reason" }, el("strong", { text: `${failure.status}: ` }), failure.error.slice(0, 300))
        : null,
    ),
    picture(point, reference),
  );
}

// What the network with all blocks alike and nearly equal multiply-adds reaches; null where the search did not look.
function uniformBeside(point) {
  const uniform = (data.uniform || []).find((one) => one.point === point);
  if (!uniform) return null;
  const names = data.objectives.map(({ name }) => name);
  const values = [...names, ...(names.includes("macs") ? [] : ["macs"])].map((name) => kept(`${titleOf(name)} ${shownValue(name, uniform.values[name] ?? null)}`));
  return el("p", { class: "uniform" }, el("strong", { text: `Uniform network nearest in MACs, whatever its other options${uniform.is_feasible ? "" : ", which breaks a constraint"}: ` }), values.join(", "), el("span", { class: "peer" }, el("code", {}, ...genotypeParts(uniform.text)), copyButton(uniform.text)));
}

function pictureLegend() {
  return [
    el("span", { text: "length of a box: channels, cut into heads" }),
    el("span", { text: "height: side of the token map, its windows on the end face" }),
    el("span", { text: "small grid: kernel, filled over one stride" }),
  ];
}

function showArchitectures() {
  const list = byId("best-list"), note = byId("best-note"), controls = byId("best-controls");
  if (!data.rankings.length) {
    note.textContent = data.total ? "No architecture has a score that counts." : "Nothing has been scored yet.";
    byId("best-legend").remove();
    return;
  }
  const select = el("select", { "aria-label": "Ranked by" }, ...data.rankings.map(({ label }, i) => el("option", { value: i, text: label })));
  controls.append(el("label", {}, "ranked by ", select));
  let limit = 5;
  const show = () => {
    const ranking = data.rankings[Number(select.value)];
    const isFront = ranking.name === "";
    const first = ranking.members[0];
    const isSplit = data.objectives.length > 0 && data.recommended !== null;
    // What is recommended stands first, and once.
    const cards = ranking.members
      .slice(0, limit)
      .map((point, i) => (isSplit && point === data.recommended ? null : card(point, isFront ? `${i + 1} on the front` : `#${i + 1}`, first)))
      .filter(Boolean);
    if (isSplit) {
      const at = ranking.members.indexOf(data.recommended);
      const label = at < 0 ? "Recommended" : `Recommended, and #${at + 1} here`;
      const recommended = card(data.recommended, label, first);
      recommended.classList.add("recommended");
      cards.unshift(recommended);
    }
    list.replaceChildren(...cards);
    const left = ranking.members.length - limit;
    if (left > 0) {
      const more = el("button", { type: "button", class: "more", text: `show ${whole(Math.min(left, 20))} more of ${whole(ranking.members.length)}` });
      more.addEventListener("click", () => {
        limit += 20;
        show();
      });
      list.append(el("li", { class: "more" }, more));
    }
    const order = isFront ? `${plural(data.front_size, "architecture", "architectures")} that no other dominates, from the best ${data.objectives[0].name} on. ` : "";
    const cut = isFront && data.front_size > ranking.members.length ? `${whole(ranking.members.length)} of them are on this page. ` : "";
    const recommended = isSplit && data.recommended_reason ? `The recommendation is the searcher's own choice: ${data.recommended_reason}. ` : "";
    note.textContent = `${order}${cut}${recommended}Marked cells differ from the first ranked one; ▴ and ▾ say whether they are larger or smaller.`;
  };
  select.addEventListener("change", () => {
    limit = 5;
    show();
  });
  remember("best", () => (limit > 5 ? limit : null), (before) => {
    limit = before;
    show();
  });
  show();
  if (points.stages) {
    byId("best-legend").append(...pictureLegend(), el("span", { text: "one scale for all" }));
  } else byId("best-legend").remove();
}

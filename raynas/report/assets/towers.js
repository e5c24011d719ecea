// A family of architectures as towers: a slab for each block, as wide as its channels, the first stage at the ground.

const TOWER = { left: 84, column: 50, widest: 116, height: 250, slab: 14, gap: 4, row: 17 };

// Depth and channels of each stage of a member; null where neither the space's pictures nor its fields tell.
function stagesOf({ point, depths, width }) {
  if (points.stages) return points.stages[point].map((number) => points.stage_table[number]);
  return depths && depths.map((depth) => ({ depth, width }));
}

// Rows of figures below the towers: a name, and the text of each member that it has room for.
function towerRows(family, columnWidth) {
  const fits = (texts) => Math.max(...texts.map((text) => text.length)) * 6.4 <= columnWidth - 4;
  const blocks = family.map((member) => stagesOf(member).map(({ depth }) => depth));
  const each = blocks.map((depths) => depths.join("·"));
  const total = blocks.map((depths) => String(depths.reduce((sum, depth) => sum + depth, 0)));
  const rows = [["blocks", fits(each) ? each : total]];
  if (data.growth.width) rows.push([data.growth.width, family.map(({ width }) => whole(width))]);
  for (const [name, title] of [["num_params", "parameters"], ["macs", "MACs"]]) {
    if (columns.has(name)) rows.push([title, family.map(({ point }) => shownValue(name, columns.get(name).values[point]))]);
  }
  return rows;
}

// Draws the towers of the family; returns what marks one of them.
function drawTowers(holder, width, family, choose) {
  const stages = family.map(stagesOf);
  const room = (width - TOWER.left) / family.length;
  const column = Math.max(TOWER.column, Math.min(TOWER.widest, room));
  const widest = Math.max(...stages.flat().map((stage) => stage.width));
  const most = Math.max(...stages.map((own) => own.reduce((sum, { depth }) => sum + depth, 0)));
  const gaps = TOWER.gap * (Math.max(...stages.map((own) => own.length)) - 1);
  const slab = Math.min(TOWER.slab, (TOWER.height - gaps) / most);
  const ground = slab * most + gaps + 8;
  const rows = towerRows(family, column);
  const total = { width: TOWER.left + column * family.length, height: ground + TOWER.row * (rows.length + 1) + 8 };
  const picture = svg("svg", { ...total, class: "towers", role: "group", "aria-label": "Depth and width of each stage, step by step" });
  picture.append(svg("text", { class: "name", x: 0, y: ground + 16, text: "step" }));
  rows.forEach(([name], i) => picture.append(svg("text", { class: "name", x: 0, y: ground + 16 + TOWER.row * (i + 1), text: name.length > 12 ? `${name.slice(0, 11)}…` : name })));
  const backs = family.map((member, k) => {
    const left = TOWER.left + column * k, centre = left + column / 2;
    const back = svg("rect", { class: "column", x: left, y: 0, width: column, height: total.height, rx: 4 }, svg("title", { text: `step ${member.step}: ${arrowed(member.change)}` }));
    back.addEventListener("click", () => choose(k));
    picture.append(back);
    const before = k ? stages[k - 1] : stages[k];
    let bottom = ground;
    stages[k].forEach((stage, i) => {
      const side = Math.max(1, (stage.width / widest) * (column - 10));
      for (let block = 0; block < stage.depth; block++) {
        const isNew = Boolean(before[i]) && block >= before[i].depth;
        picture.append(
          svg("rect", {
            class: isNew ? "slab new" : "slab",
            style: isNew ? null : `fill:var(--band-${bandOf(i, stages[k].length)})`,
            x: centre - side / 2,
            y: bottom - slab,
            width: side,
            height: Math.max(1, slab - Math.min(2, slab / 4)),
          }),
        );
        bottom -= slab;
      }
      bottom -= TOWER.gap;
    });
    picture.append(svg("text", { class: "step", "pointer-events": "none", x: centre, y: ground + 16, text: member.step }));
    rows.forEach(([, texts], i) => picture.append(svg("text", { "pointer-events": "none", x: centre, y: ground + 16 + TOWER.row * (i + 1), text: texts[k] })));
    return back;
  });
  picture.append(svg("line", { class: "ground", x1: TOWER.left, x2: total.width, y1: ground, y2: ground }));
  holder.replaceChildren(picture);
  return (chosen) => backs.forEach((back, k) => back.setAttribute("class", k === chosen ? "column chosen" : "column"));
}

function towersLegend(family) {
  const stages = stagesOf(family[family.length - 1]);
  const widest = Math.max(...stages.map(({ width }) => width));
  const swatch = (style) => el("i", { class: "swatch", style });
  return [
    ...stages.map((stage, i) => el("span", {}, swatch(`background:var(--band-${bandOf(i, stages.length)})`), stage.name || (stages.length > 1 ? `stage ${i + 1}` : "there before"))),
    el("span", {}, swatch("background:var(--best)"), "added in that step"),
    el("span", { text: `a slab is a block, as wide as its channels; the widest has ${whole(widest)}` }),
  ];
}

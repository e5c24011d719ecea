// The page of an analysis.

const networks = data.networks;

function showLikeness() {
  byId("likeness-note").textContent =
    `Linear CKA, over ${plural(data.images, "image", "images")}: 1 where two layers hold the same up to a turn and a scale, 0 where they have nothing in common. ` +
    `A layer's number is that of the block that it stands before; "end" is what the head is given.`;
  byId("likeness-maps").append(...data.likeness.map(({ rows, columns, of, other, values }) => {
    const cell = (i, j) => {
      const found = values[i][j];
      const text = found === null ? "–" : found.toFixed(2);
      return { value: found, text, hint: `${networks[of].name}, ${rows[i]}; ${networks[other].name}, ${columns[j]}: ${found === null ? "unknown, as one is constant" : number(found, 3)}` };
    };
    const heads = (names) => names.map((name) => ({ name }));
    const map = heatMap({ rows: heads(rows), columns: heads(columns), cell, isCompact: rows.length > 14, reading: byId("likeness-reading"), idle: "Point at a cell to read it." });
    const title = of === other ? `${networks[of].name} with itself` : `${networks[of].name} (rows) with ${networks[other].name} (columns)`;
    return el("figure", {}, el("figcaption", {}, el("strong", { text: title })), el("div", { class: "scrolled" }, map));
  }));
}

function showHeads() {
  if (!data.heads.length) {
    byId("heads-note").textContent = "No heads of these networks attend over all patches of an image, so that there is nothing to measure.";
    return;
  }
  byId("heads-note").textContent =
    "Each dot is a head, its mean over images and patches; a box holds the middle half of a block's heads, its line the median. " +
    "Attention to and from class tokens is left out. The level is what even attention to all patches would have.";
  const groups = (value) => data.heads.map(({ network, blocks }) => ({
    name: networks[network].name, style: network, boxes: blocks.map((heads, i) => ({ at: i + 1, values: heads.map((head) => head[value]) })),
  }));
  const levels = (name) => [...new Set(data.heads.map((one) => one[name]))].map((value) => ({ value, label: "even attention" }));
  byId("heads-plots").append(
    boxFigure({ title: "distance, in sides of a patch", groups: groups("distance"), levels: levels("even_distance"), x: "block", low: 0 }),
    boxFigure({ title: "entropy, in nats", groups: groups("entropy"), levels: levels("even_entropy"), x: "block", low: 0 }),
  );
  byId("heads-legend").append(...data.heads.map(({ network }) => el("span", { class: "entry" }, el("i", { style: `display:inline-block;width:0.8em;height:0.8em;background:var(--part-${network})` }), ` ${networks[network].name}`)));
}

function showDepths() {
  byId("depths-note").textContent =
    "The effective rank is how many directions tokens spread over; likeness is the mean cosine of two tokens of an image. Over the depth, from what stands before the first block (0) to what the head is given.";
  const group = [];
  const line = (name) => data.depths.map(({ network, [name]: values }) => ({ name: networks[network].name, style: network, at: values.map((_, i) => i), values }));
  for (const [name, title] of [["effective_rank", "effective rank"], ["token_similarity", "likeness of an image's tokens"]]) {
    byId("depths-plots").append(lineFigure({ title, lines: line(name), bands: [], x: "depth", unit: "depth", last: Math.max(...data.depths.map(({ effective_rank: values }) => values.length - 1)), group, isLinear: true }));
  }
}

function showAttended() {
  if (!data.pictures.length) {
    byId("pictures").hidden = true;
    return;
  }
  byId("pictures-title").textContent = "Where they look";
  byId("pictures-list").append(...data.pictures.map(({ text, source }) => el("figure", {}, el("img", { src: source, alt: text }), el("figcaption", { text }))));
}

byId("setup-title").textContent = "Settings";
showHead(data.facts);
showLikeness();
showHeads();
showDepths();
showAttended();
showSetup();
showNavigation();

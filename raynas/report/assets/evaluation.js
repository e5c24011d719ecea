// The page of an evaluation: classes, what is taken for what, the images. Calibration is in calibration.js.

const evaluated = data.evaluated;
const SHOWN_CLASSES = 20, MOST_IN_TABLE = 20, MOST_IN_PICTURE = 250, SHOWN_PAIRS = 15;

const nameOf = (number) => evaluated.classes[number].name;
const percentOf = (share, digits = 2) => `${(100 * share).toFixed(digits)} %`;

// The class that images of each class are most often taken for, where they are: [class, images].
function mistakes() {
  const found = new Map();
  for (const [label, prediction, count] of evaluated.confusion) {
    if (label !== prediction && count > (found.get(label) || [0, 0])[1]) found.set(label, [prediction, count]);
  }
  return found;
}

function showClasses() {
  const rows = evaluated.classes.map((one, number) => ({ ...one, number, accuracy: one.images ? one.correct / one.images : null })).filter(({ images, predicted }) => images || predicted);
  const without = evaluated.classes.length - rows.filter(({ images }) => images).length;
  byId("classes-note").textContent =
    "Accuracy is the share of a class's images that are put into it, precision the share of the images put into it that belong there. The thin line is Wilson's 95 % interval: " +
    `few images leave it wide.${without ? ` ${plural(without, "class has", "classes have")} no image here.` : ""} A click on a heading sorts.`;
  const mistaken = mistakes();
  const range = ({ accuracy, low, high }) =>
    accuracy === null ? "" : el("span", { class: "range", title: `${percentOf(accuracy)}, ${percentOf(low)} to ${percentOf(high)}` },
      el("i", { style: `width:${100 * accuracy}%` }), el("b", { style: `left:${100 * low}%;width:${100 * (high - low)}%` }));
  const made = [
    { title: "class", isText: true, value: ({ number }) => number, cell: ({ name }) => [...breakable(name)] },
    { title: "images", value: ({ images }) => images, cell: ({ images }) => whole(images) },
    { title: "accuracy", value: ({ accuracy }) => accuracy, cell: ({ accuracy, low, high }) => (accuracy === null ? "–" : [percentOf(accuracy, 1), el("span", { class: "ends", text: `${(100 * low).toFixed(1)} … ${(100 * high).toFixed(1)}` })]) },
    { title: "", isText: true, cell: range },
    { title: "precision", value: ({ correct, predicted }) => (predicted ? correct / predicted : null), cell: ({ correct, predicted }) => (predicted ? percentOf(correct / predicted, 1) : "–") },
    { title: "most often taken for", isText: true, cell: ({ number }) => (mistaken.has(number) ? `${nameOf(mistaken.get(number)[0])} (${whole(mistaken.get(number)[1])})` : "–") },
  ];
  const state = { by: made[2], isDown: false, isWhole: rows.length <= SHOWN_CLASSES };
  const again = () => byId("classes-table").replaceChildren(classesTable(made, rows, state, again));
  again();
}

function classesTable(made, rows, state, again) {
  const sorted = [...rows].sort((a, b) => {
    const [first, second] = [state.by.value(a), state.by.value(b)];
    if (first === null || second === null) return (first === null) - (second === null);
    return (state.isDown ? second - first : first - second) || a.number - b.number;
  });
  const head = made.map((column) => {
    if (!column.value) return el("th", { scope: "col", text: column.title });
    const isBy = state.by === column;
    const sort = () => {
      Object.assign(state, { by: column, isDown: isBy && !state.isDown });
      again();
      byId("classes-table").querySelector(`[data-column="${column.title}"]`).focus();
    };
    const text = `${column.title}${isBy ? (state.isDown ? " ▾" : " ▴") : ""}`;
    return el("th", { scope: "col", class: column.isText ? null : "number", "aria-sort": isBy ? (state.isDown ? "descending" : "ascending") : null }, el("button", { type: "button", class: "sort", "data-column": column.title, text, onclick: sort }));
  });
  const shown = state.isWhole ? sorted : sorted.slice(0, SHOWN_CLASSES);
  const body = shown.map((row) => el("tr", {}, ...made.map(({ isText, cell }) => el("td", { class: isText ? null : "number" }, ...[cell(row)].flat()))));
  const more = () => {
    state.isWhole = true;
    again();
  };
  const rest = state.isWhole ? null : el("p", { class: "hint" }, el("button", { type: "button", text: `show all ${whole(rows.length)} classes`, onclick: more }));
  return el("div", {}, el("table", { class: "rows accuracies" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)), rest);
}

// -- what is taken for what -------------------------------------------------------------------------------------------

function showConfusion() {
  const present = new Set(evaluated.confusion.flatMap(([label, prediction]) => [label, prediction]));
  const shown = [...present].sort((a, b) => a - b);
  const counts = new Map(evaluated.confusion.map(([label, prediction, count]) => [label * evaluated.classes.length + prediction, count]));
  const countOf = (label, prediction) => counts.get(label * evaluated.classes.length + prediction) || 0;
  const hintOf = (label, prediction) => {
    const { images } = evaluated.classes[label];
    const count = countOf(label, prediction);
    if (!images) return `no image is of ${nameOf(label)}`;
    const share = ` (${percentOf(count / images, 1)})`;
    return label === prediction ? `${whole(count)} of ${plural(images, "image", "images")} of ${nameOf(label)}${share} are taken for what they are` : `${whole(count)} of ${plural(images, "image", "images")} of ${nameOf(label)}${share} are taken for ${nameOf(prediction)}`;
  };
  const shareOf = (label, prediction) => {
    const { images } = evaluated.classes[label];
    return images ? ((label === prediction ? 1 : -1) * countOf(label, prediction)) / images : 0;
  };
  const wrong = evaluated.confusion.filter(([label, prediction]) => label !== prediction);
  const isPicture = shown.length > MOST_IN_TABLE && shown.length <= MOST_IN_PICTURE;
  const how = shown.length <= MOST_IN_TABLE ? "Rows are the classes of images, columns what they are taken for; figures are images, whose colour is the stronger the larger their share of the row is."
    : isPicture ? `Rows, from the top, are the ${shown.length} classes of images in the order of their numbers, columns what they are taken for; a colour is the stronger the larger the share of the row is.`
    : `${whole(shown.length)} classes are too many to draw: these are the pairs that are confused most often.`;
  byId("confusion-note").textContent = wrong.length ? how : `${how} No image is taken for what it is not.`;
  const reading = byId("confusion-reading");
  if (shown.length <= MOST_IN_TABLE) {
    // By the root of the share, so that mistakes are seen beside what is right.
    const strength = (share) => Math.sign(share) * Math.sqrt(Math.abs(share));
    const cell = (i, j) => ({ value: strength(shareOf(shown[i], shown[j])), text: countOf(shown[i], shown[j]) || "", hint: hintOf(shown[i], shown[j]) });
    const heads = shown.map((number) => ({ name: nameOf(number) }));
    const isLong = shown.length > 6 && heads.some(({ name }) => name.length > 4);
    const map = heatMap({ rows: heads, columns: heads, cell, reading, idle: "Point at a cell to read it.", isTurned: isLong });
    map.classList.add("square");
    if (!isLong) map.classList.add("flat");
    byId("confusion-matrix").append(map);
  } else if (isPicture) {
    byId("confusion-matrix").append(confusionPicture(shown, shareOf, hintOf, reading));
  } else {
    byId("confusion-matrix").hidden = reading.hidden = true;
  }
  const pairs = [...wrong].sort((a, b) => b[2] - a[2] || b[2] / evaluated.classes[b[0]].images - a[2] / evaluated.classes[a[0]].images).slice(0, SHOWN_PAIRS);
  if (!pairs.length) return;
  const made = [
    { title: "images of", cell: ([label]) => nameOf(label) },
    { title: "taken for", cell: ([, prediction]) => nameOf(prediction) },
    { title: "images", isNumber: true, cell: ([, , count]) => whole(count) },
    { title: "of the class", isNumber: true, cell: ([label, , count]) => percentOf(count / evaluated.classes[label].images, 1) },
    { title: "of the mistakes", isNumber: true, cell: ([, , count]) => percentOf(count / wrong.reduce((sum, [, , one]) => sum + one, 0), 1) },
  ];
  const several = pairs.length < wrong.length ? `The ${pairs.length} of ${whole(wrong.length)} pairs that are confused most often` : "All pairs that are confused";
  byId("confusion-pairs").append(el("p", { class: "note", text: several }), rowsTable(made, pairs));
}

// A matrix of many classes, one small square for each pair; the pointer reads it.
function confusionPicture(shown, shareOf, hintOf, reading) {
  const canvas = el("canvas", { class: "confused", role: "img", "aria-label": "Confusion matrix; the pairs that are confused most often are listed below" });
  const idle = "Point at a place to read it.";
  let side = 1;
  const draw = (width) => {
    side = Math.max(2, Math.floor(Math.min(width - 4, 760) / shown.length));
    canvas.width = canvas.height = side * shown.length;
    const context = canvas.getContext("2d");
    const [plus, minus] = [colour("plus"), colour("minus")];
    const place = new Map(shown.map((number, i) => [number, i]));
    for (const [label, prediction] of evaluated.confusion) {
      const share = shareOf(label, prediction);
      context.globalAlpha = Math.min(1, 0.3 + 0.7 * Math.sqrt(Math.abs(share)));
      context.fillStyle = share < 0 ? minus : plus;
      context.fillRect(place.get(prediction) * side, place.get(label) * side, side, side);
    }
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const at = (offset, length) => shown[Math.min(shown.length - 1, Math.max(0, Math.floor((offset / length) * shown.length)))];
    reading.textContent = hintOf(at(event.clientY - box.top, box.height), at(event.clientX - box.left, box.width));
  });
  canvas.addEventListener("pointerleave", () => (reading.textContent = idle));
  reading.textContent = idle;
  const holder = el("div", {}, canvas);
  drawn(holder, draw);
  return holder;
}

// -- images ------------------------------------------------------------------------------------------------------------

function showWorst() {
  const { wrong, uncertain } = evaluated;
  if (!wrong.length && !uncertain.length) {
    byId("worst").hidden = true;
    return;
  }
  byId("worst-note").textContent = "As the network sees them, with the probability that it gives to its own choice and to the class that they are of.";
  if (!wrong.length) byId("worst-wrong-title").textContent = "None is wrong";
  for (const [id, images] of [["worst-wrong", wrong], ["worst-uncertain", uncertain]]) byId(id).append(...images.map(imageFigure));
}

function imageFigure({ source, name, label, prediction, probability, label_probability: own }) {
  const isRight = label === prediction;
  const inOne = (share) => percentOf(share, 1).replace(" ", "\u00a0"); // which no line breaks
  const lines = [`taken for ${nameOf(prediction)}, ${inOne(probability)}`, isRight ? "which it is" : `is ${nameOf(label)}, ${inOne(own)}`];
  const text = `${name}: ${lines.join("; ")}`;
  return el("figure", { title: text }, el("img", { src: source, alt: text, width: 96, height: 96 }),
    el("figcaption", {}, el("span", { text: lines[0] }), el("span", { class: isRight ? "right" : "wrong", text: lines[1] }), el("span", { class: "muted name", text: name })));
}

byId("setup-title").textContent = "What was evaluated, and how";
showHead(data.facts);
if (data.note) byId("notice").append(el("p", { class: "caution", text: `Beware: ${data.note}.` }));
if (evaluated) {
  showClasses();
  showConfusion();
  showCalibration();
  showWorst();
} else {
  for (const id of ["classes", "confusion", "calibration", "worst"]) byId(id).hidden = true;
}
showNext();
showSetup();
showNavigation();

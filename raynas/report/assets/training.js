// The page of a training.

const curves = data.curves;
const finished = (curves.epoch || []).map((epoch) => epoch + 1);

// Terms of the loss of raynas' own objectives, as people call them.
const TERMS = { reconstruction_loss: "hidden patches", attention_loss: "teacher's attention", token_loss: "teacher's tokens", relation_loss: "relations of tokens", task_loss: "labels", guidance_loss: "teacher's feature maps", logit_loss: "teacher's logits" };

function inWords(name) {
  return name.replaceAll("_", " ");
}

function percentOf(share, digits = 2) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`;
}

// Epochs of a phase as people count them.
function spanOf({ start, end }) {
  return end - start > 1 ? `${whole(start + 1)}–${whole(end)}` : whole(start + 1);
}

function showCurves() {
  if (!finished.length) {
    byId("curves-note").textContent = "No epoch is finished yet.";
    byId("epochs").hidden = true;
    return;
  }
  const bands = data.phases.map((phase) => ({
    from: phase.start,
    to: phase.end,
    labels: [...(phase.share === null ? [] : [" of the MACs", ""].map((rest) => `stride ${phase.stride}, ${percentOf(phase.share, 0)}${rest}`)), `stride ${phase.stride}`, String(phase.stride)],
    hint: `epochs ${spanOf(phase)}: stride ${phase.stride}, dilation ${phase.dilation}${phase.share === null ? "" : `, ${percentOf(phase.share, 1)} of the MACs`}`,
  }));
  const group = [];
  const counted = curves[`ema_${data.measure.column}`] ? `ema_${data.measure.column}` : data.measure.column;
  const scaled = (column, factor) => column.map((value) => (value === null ? null : factor * value));
  // What counts of an epoch has its best one marked, and the interval of an accuracy around it.
  const line = (name, id, style, factor = 1) => {
    if (!curves[id]) return null;
    const { low, high } = data.uncertainty && data.uncertainty.column === id ? data.uncertainty : {};
    const around = low ? { low: scaled(low, factor), high: scaled(high, factor) } : {};
    return { name, style, at: finished, values: scaled(curves[id], factor), best: id === counted ? data.best_epoch : null, ...around };
  };
  const figure = (title, lines, more) => {
    const known = lines.filter(Boolean);
    if (known.length) byId("curves-plots").append(lineFigure({ title, lines: known, bands, x: "epochs", unit: "epoch", last: data.epochs, group, ...more }));
  };
  figure("loss", [line("training", "train_loss", 0), line("validation", "val_loss", 1), line("moving average", "ema_val_loss", 2)]);
  figure("terms of the loss, before they are weighted", data.terms.map((name, i) => line(TERMS[name] || inWords(name), name, i)));
  // Accuracies of other networks in the same weights stand beside that of the whole.
  const accuracies = data.evaluated.filter((name) => name.endsWith("_top1"));
  const memberLines = accuracies.map((name, i) => line(name === "val_knn_top1" ? "nearest neighbours" : inWords(name.slice(4, -5)), name, 3 + i, 100));
  const isByNeighbours = accuracies.length === 1 && accuracies[0] === "val_knn_top1" && !curves.val_top1;
  figure(isByNeighbours ? "top-1 by nearest neighbours of features, %" : "top-1, %", [line(accuracies.length ? "largest" : "validation", "val_top1", 1, 100), line("moving average", "ema_val_top1", 2, 100), ...memberLines], { format: (value) => `${value.toFixed(2)} %` });
  for (const name of data.evaluated.filter((one) => !accuracies.includes(one))) figure(inWords(name.slice(4)), [line("validation", name, 1), line("moving average", `ema_${name}`, 2)]);
  figure("learning rate", [line("learning rate", "lr", 0)], { isLinear: true, format: (value) => number(value, 3) });
  figure("images a second", [line("images a second", "images_per_s", 0)], { isCount: true, low: 0, format: compact });
  const average = Object.keys(curves).some((name) => name.startsWith("ema_")) ? ` The moving average is of the weights; its ${data.measure.title} counts.` : "";
  const behind = bands.length ? " Stretches behind the lines are the phases of re-tokenization." : "";
  const sure = data.uncertainty
    ? ` Shaded: where the top-1 of each epoch may lie on other images of the kind, as it was counted on ${plural(data.uncertainty.n, "image", "images")} (Wilson's interval, ${number(100 * data.uncertainty.level)} %).`
    : "";
  byId("curves-note").textContent = `Values at the end of each epoch.${average}${sure}${behind}`;
  if (data.best_epoch !== null) byId("curves-legend").append(legendEntry("diamond", "best", `best epoch by ${data.measure.title}: ${whole(data.best_epoch)}`));
  showEpochs();
}

function showEpochs() {
  const columnsOf = [
    ["learning rate", "lr", (value) => number(value, 3)],
    ["training loss", "train_loss", number],
    ...data.terms.map((name) => [TERMS[name] || inWords(name), name, number]),
    ["validation loss", "val_loss", number],
    ["top-1", "val_top1", percentOf],
    ["loss of the average", "ema_val_loss", number],
    ["its top-1", "ema_val_top1", percentOf],
    ...data.evaluated.flatMap((name) => {
      const write = name.endsWith("_top1") ? percentOf : number;
      return [[inWords(name.slice(4)), name, write], [`${inWords(name.slice(4))} of the average`, `ema_${name}`, write]];
    }),
    ["stride", "stride", number],
    ["MACs", "macs", compact],
    ["images/s", "images_per_s", compact],
    ["training", "train_s", duration],
    ["of it waiting", "data_wait_s", duration],
    ["evaluation", "eval_s", duration],
  ];
  const shown = columnsOf.filter(([, name]) => curves[name]);
  const made = shown.map(([title, name, write]) => ({ title, isNumber: true, cell: (_, i) => (curves[name][i] === null ? "–" : write(curves[name][i])) }));
  byId("epochs-table").append(rowsTable([{ title: "epoch", isNumber: true, cell: (epoch) => whole(epoch) }, ...made], finished, (epoch) => ({ class: epoch === data.best_epoch ? "chosen" : null })));
}

function showPhases() {
  if (!data.phases.length) {
    byId("phases").hidden = true;
    return;
  }
  const saving = data.saving;
  const note = byId("phases-note");
  if (saving) {
    const time = saving.full_s ? ` At the speed of its epochs with all tokens, training would have taken ${duration(saving.full_s)} instead of ${duration(saving.train_s)}: ${percentOf(1 - saving.train_s / saving.full_s, 1)} of the time saved.` : "";
    note.append(
      el("strong", { text: `${data.measure.title} ${data.measure.value} with ${percentOf(saving.share, 1)} of the training's MACs saved${finished.length < data.epochs ? " so far" : ""}` }),
      `: ${compact(saving.macs)} in place of ${compact(saving.full)}, forward and backward passes together.${time}`,
    );
  } else note.textContent = "Larger tokens first: the patches' stride shrinks from phase to phase, and the weights stay what they are.";
  const made = [
    { title: "epochs", cell: spanOf },
    { title: "finished", isNumber: true, cell: ({ done }) => whole(done) },
    { title: "stride", isNumber: true, cell: ({ stride }) => whole(stride) },
    { title: "dilation", isNumber: true, cell: ({ dilation }) => whole(dilation) },
    { title: "MACs of an image", isNumber: true, cell: ({ macs }) => (macs === null ? "–" : compact(macs)) },
    { title: "share of the full ones", isNumber: true, cell: ({ share }) => percentOf(share, 1) },
    { title: "an epoch's training", isNumber: true, cell: ({ epoch_s: seconds }) => (seconds === null ? "–" : duration(seconds)) },
    { title: "images a second", isNumber: true, cell: ({ images_per_s: speed }) => (speed === null ? "–" : compact(speed)) },
  ];
  byId("phases-table").append(rowsTable(made, data.phases));
}

// What stands in each picture, by the names that objectives give them.
const PICTURES = {
  images: "images to evaluate on",
  kept_patches: "what the network is shown of them",
  reconstructions: "hidden patches as they are predicted",
};

function showPictures() {
  if (!data.pictures.length) {
    byId("pictures").hidden = true;
    return;
  }
  // What stays the same over the epochs is shown once.
  const last = new Map(data.pictures.map((drawn) => [drawn.name, drawn]));
  const constant = new Set([...last.keys()].filter((name) => data.pictures.every((drawn) => drawn.name !== name || drawn.source === last.get(name).source)));
  const shown = data.pictures.filter((drawn) => !constant.has(drawn.name) || drawn === last.get(drawn.name));
  byId("pictures-list").append(...shown.map(({ name, epoch, source }) => {
    const text = `${PICTURES[name] || inWords(name)}${constant.has(name) ? "" : ` after epoch ${whole(epoch)}`}`;
    return el("figure", {}, el("img", { src: source, alt: text }), el("figcaption", { text }));
  }));
}

function showModel() {
  const text = textOf(0);
  const cost = (name) => el("div", {}, el("dt", { text: titleOf(name) }), el("dd", { text: compact(points.values[name][0]) }));
  const identity = el("div", { class: "identity" }, el("p", { class: "genotype" }, el("code", {}, ...breakable(text)), copyButton(text)), el("dl", { class: "scores" }, cost("num_params"), cost("macs")));
  byId("model-card").append(el("div", { class: "architecture" }, identity, picture(0, null)));
  if (points.stages) byId("model-legend").append(...pictureLegend());
}

function showTrainingTime() {
  const { parts, sentence } = data.time;
  byId("time-note").textContent = sentence;
  const styles = ["background:var(--part-0)", "background:repeating-linear-gradient(45deg,var(--part-0) 0 3px,var(--stripe) 3px 6px)", "background:var(--part-1)", "background:var(--idle)"];
  const total = parts.reduce((sum, { seconds }) => sum + seconds, 0);
  if (total) byId("time-bars").append(bar("The training", parts.map((part, i) => ({ ...part, style: styles[i] })), total));
}

byId("setup-title").textContent = "Settings";
showHead(data.facts);
showCurves();
showNext();
showPictures();
showPhases();
showModel();
showTrainingTime();
showSetup();
showNavigation();

// The run folder, the command of the run, and what to do with what was found: lines to copy.

function showNext() {
  const { folder, command, steps } = data.next;
  const line = (what, text) => el("div", {}, el("dt", { text: what }), el("dd", {}, el("code", { text }), copyButton(text)));
  byId("next-lines").append(
    ...steps.map(({ what, command: text }) => line(what, text)),
    ...(command ? [line("Make such a run anew", command)] : []),
    line("Run folder", folder),
  );
  if (!steps.length) byId("next-title").textContent = "The run";
}

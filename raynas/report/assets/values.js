// The page's data, and how values are written. Text enters the page as text nodes only, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const points = data.points;
const size = points.candidate.length;
const CANDIDATE = "candidate number";
// What listens beyond the page's elements ends with this, once the page is drawn anew from what has come since.
const lifetime = new AbortController();
const OK = 0, INFEASIBLE = 1, FAILED = 2, PENDING = 3;

function byId(id) {
  return document.getElementById(id);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

const columns = new Map(data.scores.map((score) => [score.name, { ...score, values: points.values[score.name] }]));
columns.set(CANDIDATE, {
  name: CANDIDATE,
  values: points.candidate.map((candidate) => (candidate < 0 ? null : candidate)),
  isCount: true,
  isPlain: true,
});
columns.set("seconds", { name: "seconds", values: points.seconds, unit: "s" });
for (const column of columns.values()) {
  // A predicted latency is a cost that is no count.
  if (column.is_cost && column.name !== "predicted_latency_ms") column.isCount = true;
}

function titleOf(name) {
  return { num_params: "parameters", macs: "MACs", seconds: "seconds to score" }[name] || name;
}

const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

function power(exponent) {
  return "10" + String(exponent).replace(/./g, (digit) => SUPERSCRIPTS[digit]);
}

function withSign(text) {
  return text.replace("-", "−");
}

function trimmed(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

// Whole numbers with thousands separated.
function whole(value) {
  return withSign(Math.round(value).toLocaleString("en-US"));
}

// Large counts in k, M, G, with three digits.
function compact(value) {
  if (Math.abs(value) < 1e4) return whole(value);
  for (const [factor, suffix] of [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= 0.9995 * factor) return `${withSign((value / factor).toPrecision(3))} ${suffix}`;
  }
  return whole(value);
}

function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return whole(value);
  if (size >= 1e-3 && size < 10 ** digits) return withSign(value.toPrecision(digits).replace(/e.*/, ""));
  if (size >= 1 && size < 1e6) return whole(value);
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  return `${withSign(mantissa)} × ${power(Number(exponent))}`;
}

function shownValue(name, value) {
  if (value === null || value === undefined) return "–";
  const column = columns.get(name);
  if (column && column.isPlain) return whole(value);
  if (column && column.isCount) return compact(value);
  return column && column.unit ? `${number(value, 3)} ${column.unit}` : number(value);
}

// A value with its name and unit, which no line break parts.
function kept(text) {
  return text.replaceAll(" ", "\u00a0");
}

function duration(seconds) {
  if (seconds < 0.001) return "0.0 s";
  if (seconds < 60) return `${trimmed(number(seconds, seconds < 10 ? 2 : 3))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds) % 60).padStart(2, "0")} s`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min` : `${number(minutes / 1440, 3)} d`;
}

function fieldsOf(point) {
  return points.fields[point].map((number) => points.field_table[number]);
}

// The space's own text, or canonical JSON.
function textOf(point) {
  if (points.text) return points.text[point];
  const names = fieldsOf(point).sort((a, b) => (a[0] < b[0] ? -1 : 1));
  return `{${names.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`;
}

// What readers do that no control shows, by what it is done to: `read` says it as a value of JSON, null where nothing
// was done, and `restore` does it again on a page that is drawn anew.
const remembered = new Map();

function remember(name, read, restore) {
  remembered.set(name, { read, restore });
}

// The place of an architecture on this page, which may be another one on the next; null if it is not there.
function pointOf(text) {
  return [...Array(size).keys()].find((point) => textOf(point) === text) ?? null;
}

function plural(count, one, several) {
  return `${whole(count)} ${count === 1 ? one : several}`;
}

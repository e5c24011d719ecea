// Axes with round ticks, and plots that are drawn again when their width or the colours change.

const drawings = [];

// Call `draw(width)` now and whenever the element's width or the colour scheme changes.
function drawn(element, draw) {
  let width = 0;
  const again = () => {
    const now = Math.floor(element.clientWidth);
    if (now) draw((width = now));
  };
  drawings.push(again);
  new ResizeObserver(() => Math.floor(element.clientWidth) !== width && again()).observe(element);
  again();
  return again;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawings.forEach((again) => again()), { signal: lifetime.signal });

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function niceStep(range, count) {
  const rough = range / Math.max(1, count);
  const unit = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].find((factor) => factor * unit >= rough * 0.8) * unit;
}

// What tick labels are divided by, and how the title says so.
function unitOf(largest, isCount) {
  if (isCount) {
    for (const [factor, suffix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (largest >= (factor === 1e3 ? 1e4 : factor)) return { factor, suffix: ` (${suffix})` };
    }
    return { factor: 1, suffix: "" };
  }
  if (!largest || (largest >= 1e-2 && largest < 1e5)) return { factor: 1, suffix: "" };
  const exponent = 3 * Math.floor(Math.log10(largest) / 3);
  return { factor: 10 ** exponent, suffix: ` (${power(exponent)})` };
}

// An axis over the values: `at` maps a value to 0..1; logarithmic where positive values span decades.
function axisOf(values, pixels, options = {}) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) [low, high] = [0, 1];
  const count = Math.max(2, Math.floor(pixels / (options.spacing || 60)));
  if (low > 0 && high / low >= 50 && !options.isLinear) return logAxis(low, high, count, options);
  if (options.low !== undefined) low = options.low;
  if (low === high) {
    const margin = Math.abs(low) * 0.05 || 1;
    [low, high] = [options.low ?? low - margin, high + margin];
  }
  const step = options.isCount && !options.factor ? Math.max(niceStep(high - low, count), high > 1e4 ? 0 : 1) : niceStep(high - low, count);
  const padding = options.isTight ? 0 : (high - low) * 0.04;
  const [start, end] = [options.low !== undefined || options.isTight ? low : low - padding, high + padding];
  const unit = unitOf(Math.max(Math.abs(low), Math.abs(high)), options.isCount);
  const decimals = Math.max(0, -Math.floor(Math.log10(step / unit.factor) + 1e-9) + (/2\.5|25/.test((step / unit.factor).toPrecision(2)) ? 1 : 0));
  const ticks = [];
  for (let k = Math.ceil(start / step - 1e-9); k * step <= end + step * 1e-9; k++) {
    const value = k * step;
    ticks.push({ value, label: withSign((value / unit.factor).toFixed(Math.min(decimals, 12)).replace(/^-(0(\.0+)?)$/, "$1")) });
  }
  return { isLog: false, ticks, suffix: unit.suffix, at: (value) => (value - start) / (end - start) };
}

function logAxis(low, high, count, options) {
  const [start, end] = [Math.log10(low), Math.log10(high)];
  const padding = (end - start) * 0.04;
  const decades = end - start;
  const every = Math.max(1, Math.floor(decades / count));
  const marks = (factors) => {
    const ticks = [];
    for (let exponent = Math.floor(start - padding); exponent <= Math.ceil(end + padding); exponent++) {
      for (const factor of factors) {
        const value = factor * 10 ** exponent;
        const place = Math.log10(value);
        if (exponent % every || place < start - padding || place > end + padding) continue;
        ticks.push({ value, label: options.isCount ? compact(value) : Math.abs(exponent) > 3 ? (factor > 1 ? `${factor}·` : "") + power(exponent) : trimmed(value.toFixed(Math.max(0, -exponent))) });
      }
    }
    return ticks;
  };
  // As many as there is room for; one tick alone would leave the scale open.
  const ticks = [[1, 2, 5], [1, 3], [1]].map(marks).find((found) => found.length <= count + 1) || marks([1]);
  if (ticks.length < 2) ticks.splice(0, ticks.length, ...marks([1, 3]));
  return { isLog: true, ticks, suffix: ", log scale", at: (value) => (Math.log10(value) - start + padding) / (decades + 2 * padding) };
}

// Grid lines, ticks and titles; returns where values lie in pixels.
function axes(root, width, height, margin, x, y, titles) {
  const inner = { left: margin.left, right: width - margin.right, top: margin.top, bottom: height - margin.bottom };
  const px = (value) => inner.left + x.at(value) * (inner.right - inner.left);
  const py = (value) => inner.bottom - y.at(value) * (inner.bottom - inner.top);
  const group = svg("g", { class: "axes" });
  for (const { value, label } of y.ticks) {
    const at = py(value);
    group.append(
      svg("line", { class: "rule", x1: inner.left, x2: inner.right, y1: at, y2: at }),
      svg("text", { class: "tick y", x: inner.left - 6, y: at + 4, "text-anchor": "end", "data-value": value, text: label }),
    );
  }
  let free = -Infinity;
  for (const { value, label } of x.ticks) {
    const at = px(value), half = label.length * 3.4 + 3;
    group.append(svg("line", { class: "notch", x1: at, x2: at, y1: inner.bottom, y2: inner.bottom + 4 }));
    if (at - half < free || at + half > width + 2) continue;
    free = at + half;
    group.append(svg("text", { class: "tick x", x: at, y: inner.bottom + 17, "text-anchor": "middle", "data-value": value, text: label }));
  }
  group.append(svg("line", { class: "base", x1: inner.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom }));
  // What is long is cut, and says itself in full under the pointer.
  const title = (text, rest, attributes) => {
    const room = Math.floor((width - 8) / 7.2) - rest.length;
    return svg("text", { class: "axis-title", ...attributes }, (text.length > room ? `${text.slice(0, Math.max(1, room - 1))}…` : text) + rest, text.length > room ? svg("title", { text }) : null);
  };
  if (titles.y) group.append(title(titles.y, y.suffix + (titles.yHint || ""), { x: 0, y: 12 }));
  if (titles.x) group.append(title(titles.x, x.suffix + (titles.xHint || ""), { x: inner.right, y: height - 4, "text-anchor": "end" }));
  root.append(group);
  return { px, py, inner };
}

// Room for the labels of the vertical axis.
function leftMargin(axis) {
  return 14 + 6.6 * Math.max(2, ...axis.ticks.map(({ label }) => label.length));
}

function symbol(shape, x, y, r) {
  if (shape === "cross") return `M${x - r},${y - r} l${2 * r},${2 * r} M${x - r},${y + r} l${2 * r},${-2 * r}`;
  if (shape === "diamond") return `M${x},${y - r * 1.2} l${r * 1.2},${r * 1.2} l${-r * 1.2},${r * 1.2} l${-r * 1.2},${-r * 1.2} Z`;
  if (shape === "square") return `M${x - r},${y - r} h${2 * r} v${2 * r} h${-2 * r} Z`;
  return `M${x - r},${y} a${r},${r} 0 1,0 ${2 * r},0 a${r},${r} 0 1,0 ${-2 * r},0 Z`;
}

function legendEntry(shape, name, text) {
  const mark = svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, svg("path", { class: `mark ${name}`, d: symbol(shape, 7, 7, 4) }));
  return el("span", {}, mark, text);
}

function lineEntry(name, text) {
  return el("span", {}, svg("svg", { width: 22, height: 14, "aria-hidden": "true" }, svg("path", { class: name, d: "M1,7 H21" })), text);
}

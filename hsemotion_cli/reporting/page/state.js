// What every part of the page shares: the frames, the part of time that is shown, the people, and small pieces of DOM.

const shown = {
  times: new Float64Array(0), // seconds of each analysed frame
  frames: new Float64Array(0), // its ordinal
  step: 0.04, // usual seconds from frame to frame
  first: 0, // the whole axis in seconds
  last: 1,
  from: 0, // the part of it that is shown
  to: 1,
  row: 0, // the frame under the cursor, -1 where none was analysed
  time: 0, // of the cursor, in seconds
  people: [], // see people.js
  chosen: 0, // position of the chosen person among the visible ones
  marks: [], // see marks.js
};

const listeners = { view: [], cursor: [], people: [], marks: [], theme: [] };

/** Call a function whenever something has changed: "view", "cursor", "people", "marks" or "theme". */
function when(what, work) {
  listeners[what].push(work);
}

function changed(what) {
  for (const work of listeners[what]) work();
}

function $(id) {
  return document.getElementById(id);
}

/** A new element; text is only ever text, never markup. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function clockText(seconds, digits = 3) {
  if (!Number.isFinite(seconds)) return "–";
  const sign = seconds < 0 ? "−" : "";
  const units = Math.round(Math.abs(seconds) * 10 ** digits);
  const whole = Math.floor(units / 10 ** digits);
  const part = digits ? `.${String(units % 10 ** digits).padStart(digits, "0")}` : "";
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value) => String(value).padStart(2, "0");
  return `${sign}${h ? `${h}:${two(m)}` : m}:${two(s)}${part}`;
}

/** A value in words, with as many digits as the tiles keep. */
function numberText(value, sign = false) {
  if (!Number.isFinite(value)) return "–";
  const text = Math.abs(value) >= 1e5 ? value.toExponential(2) : value.toFixed(LEVELS > 10000 ? 3 : 2);
  return (sign && value >= 0 ? `+${text}` : text).replace("-", "−");
}

function shareText(share) {
  return Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : "–";
}

/** Position of the last frame at or before a time in seconds; -1 before the first. */
function rowAt(time) {
  let [low, high] = [0, shown.times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (shown.times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Seconds for which a frame is shown: until the next one, or the usual step where a stretch was not analysed. */
function holds(row) {
  const gap = row + 1 < shown.times.length ? shown.times[row + 1] - shown.times[row] : shown.step;
  return gap > Math.max(2.5 * shown.step, 0.25) ? shown.step : gap;
}

/** The frame that is shown at a time in seconds; -1 where none was analysed. */
function analysedAt(time) {
  const row = rowAt(time + 5e-4); // players round to the millisecond at worst
  return row >= 0 && time < shown.times[row] + holds(row) + 5e-4 ? row : -1;
}

function inside(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** Show another part of time, at least five frames long. */
function show(from, to) {
  const whole = shown.last - shown.first;
  const width = inside(to - from, Math.min(whole, Math.max(5 * shown.step, 1e-3)), whole);
  shown.from = inside(from, shown.first, shown.last - width);
  shown.to = shown.from + width;
  changed("view");
}

function zoom(factor, around = shown.time) {
  const at = inside(around, shown.from, shown.to);
  show(at - (at - shown.from) * factor, at + (shown.to - at) * factor);
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** "#rrggbb" -> [red, green, blue]. */
function rgb(colour) {
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function offerFile(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/** A line of a CSV file of RFC 4180. */
function csvLine(cells) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return `${cells.map((value) => cell(String(value))).join(",")}\n`;
}

// The page of a folder: thousands of lines, of which only those in view are in the document.

const facts = JSON.parse(document.getElementById("facts").textContent);
const HEIGHT = 34; // CSS pixels of a line; see index.css
const COLUMNS = [
  { name: "recording", key: (line) => line.recording.name, words: true },
  { name: "person", key: (line) => line.person.name, words: true },
  { name: "over time", key: null },
  { name: "duration", key: (line) => line.recording.seconds, text: (line) => clockText(line.recording.seconds, 0) },
  { name: "seen", key: (line) => line.person.seen, text: (line) => shareText(line.person.seen) },
  { name: "expression", key: (line) => line.person.expression, words: true },
  { name: "share", key: (line) => line.person.share, text: (line) => shareText(line.person.share ?? NaN) },
  { name: "valence", key: (line) => line.person.valence, text: (line) => signed(line.person.valence) },
  { name: "arousal", key: (line) => line.person.arousal, text: (line) => signed(line.person.arousal) },
  { name: "warnings", key: (line) => line.recording.warnings.length, words: true, text: (line) => line.recording.warnings.join(" ") },
];

const nobody = { name: "nobody", seen: 0, expression: "", share: null, valence: null, arousal: null, labels: [], curve: [] };
const all = facts.recordings.flatMap((recording) =>
  (recording.people.length ? recording.people : [nobody]).map((person) => ({ recording, person })),
);
let lines = all;
let order = { column: 0, up: true };
let drawn = "";

function signed(value) {
  return value === null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

function haystack(line) {
  line.text ??= [line.recording.name, line.person.name, line.person.expression, ...line.recording.warnings].join(" ").toLowerCase();
  return line.text;
}

function choose() {
  const wanted = $("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const { key } = COLUMNS[order.column];
  const sign = order.up ? 1 : -1;
  lines = all.filter((line) => wanted.every((word) => haystack(line).includes(word)));
  lines.sort((a, b) => {
    const [one, other] = [key(a), key(b)];
    if (one === null || other === null) return (one === null) - (other === null);
    return sign * (typeof one === "string" ? one.localeCompare(other, "en", { numeric: true }) : one - other);
  });
  $("counts").textContent = `${lines.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} lines`;
  drawn = "";
  draw();
}

/** Put the lines that are in view into the table, and two empty ones as high as those above and below them. */
function draw() {
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 10);
  const last = Math.min(lines.length, first + Math.ceil(list.clientHeight / HEIGHT) + 20);
  if (drawn === `${first} ${last}`) return;
  drawn = `${first} ${last}`;
  $("rows").replaceChildren(gap(first), ...lines.slice(first, last).map(lineOf), gap(lines.length - last));
  $("recordings").setAttribute("aria-rowcount", lines.length + 1);
}

function gap(count) {
  const row = make("tr", { class: "gap", "aria-hidden": "true" }, make("td", { colspan: COLUMNS.length }));
  row.style.height = `${count * HEIGHT}px`;
  return row;
}

function lineOf(line) {
  const { recording, person } = line;
  const link = make("a", { href: recording.page, text: recording.name });
  const cells = COLUMNS.slice(1).map(({ name, key, text, words }) => {
    if (!key) return make("td", {}, spark(person));
    const shown = text ? text(line) : key(line);
    return make("td", { class: words ? `words ${name === "warnings" ? "warning" : ""}` : "", text: shown, title: name === "warnings" ? shown : null });
  });
  return make("tr", {}, make("th", { scope: "row" }, link), ...cells);
}

/** Expressions as colours, and valence as a line over them. */
function spark(person) {
  const canvas = make("canvas", { role: "img", "aria-label": `${person.expression || "no expression"} for the most part` });
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  [canvas.width, canvas.height] = [160 * ratio, 26 * ratio];
  const context = canvas.getContext("2d");
  const each = canvas.width / Math.max(person.labels.length, 1);
  person.labels.forEach((label, k) => {
    if (label < 0) return;
    context.fillStyle = facts.colours[facts.expressions[label]];
    context.fillRect(k * each, canvas.height * 0.66, Math.ceil(each), canvas.height * 0.34);
  });
  context.strokeStyle = css("--text");
  context.lineWidth = 1.3 * ratio;
  context.beginPath();
  let joined = false;
  person.curve.forEach((value, k) => {
    if (value === null) joined = false;
    else {
      context[joined ? "lineTo" : "moveTo"]((k + 0.5) * each, canvas.height * (0.31 - 0.29 * value));
      joined = true;
    }
  });
  context.stroke();
  return canvas;
}

function sortBy(column) {
  order = { column, up: order.column === column ? !order.up : true };
  writeHeads();
  choose();
}

function writeHeads() {
  const heads = COLUMNS.map(({ name, key, words }, k) => {
    const sorted = order.column === k;
    const inner = key ? make("button", { text: `${name}${sorted ? (order.up ? " ▴" : " ▾") : ""}`, onclick: () => sortBy(k) }) : name;
    return make("th", { scope: "col", class: words ? "words" : "", "aria-sort": sorted ? (order.up ? "ascending" : "descending") : null }, inner);
  });
  const focused = [...$("heads").children].findIndex((head) => head.contains(document.activeElement));
  $("heads").replaceChildren(...heads);
  if (focused >= 0) heads[focused].querySelector("button").focus();
}

document.title = `${facts.title} – hsemotion`;
$("title").textContent = facts.title;
$("failures").hidden = !facts.failures.length;
$("failures-title").textContent = `${facts.failures.length} without a page`;
$("failure-list").append(...facts.failures.slice(0, 500).map((text) => make("li", { text })));
$("search").addEventListener("input", choose);
$("list").addEventListener("scroll", draw, { passive: true });
new ResizeObserver(draw).observe($("list"));
prepareTheme(() => {
  drawn = "";
  draw();
});
writeHeads();
choose();
document.documentElement.dataset.ready = "true";

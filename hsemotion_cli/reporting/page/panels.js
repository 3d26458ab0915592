// Numbers: at the cursor, over the whole recording, and for screen readers; and the circumplex.

const TRAIL = 5; // seconds

/** The table at the cursor: two lines for each person that is shown, numbers and the action units that are present. */
function buildValues() {
  const head = ["person", "expression", "p", "valence", "arousal"];
  const cells = head.map((text, k) => make("th", { scope: "col", text, class: k === 1 ? "words" : "" }));
  const rows = visiblePeople().flatMap((person) => {
    const name = make("th", { scope: "row" }, swatch(person), ` ${title(person)}`);
    const numbers = [0, 1, 2, 3].map((k) => make("td", { class: k ? "" : "words" }));
    const units = make("tr", { class: "units" }, make("td", { colspan: head.length }));
    return usedUnits(person.track).length
      ? [make("tr", { class: "numbers" }, name, ...numbers), units]
      : [make("tr", {}, name, ...numbers)];
  });
  const caption = make("caption", { class: "unseen", text: "Values at the cursor" });
  const table = make("table", {}, caption, make("thead", {}, make("tr", {}, ...cells)), make("tbody", {}, ...rows));
  $("values").replaceChildren(table);
  writeValues();
}

/** What the table shows of a person: expression or why there is none, numbers, action units. */
function valuesOf({ track }, row, time) {
  const missing = reason(track, row, time);
  if (row < 0 || track.at(row) < 0) return [missing || "–", "–", "–", "–", ""];
  const name = track.expression(row) || "–";
  return [
    missing ? `${name} (${missing})` : name,
    numberText(track.value(`p_${name}`, row)),
    numberText(track.value("valence", row), true),
    numberText(track.value("arousal", row), true),
    UNITS.filter((unit) => track.present(row, unit)).join(" ") || "no action unit present",
  ];
}

function writeValues() {
  const { row, time } = shown;
  $("now").textContent = `${clockText(time)} · ${row < 0 ? "not analysed" : `frame ${shown.frames[row]}`}`;
  const cells = $("values").querySelectorAll("tbody td");
  const texts = visiblePeople().flatMap((person) => {
    const values = valuesOf(person, row, time);
    return usedUnits(person.track).length ? values : values.slice(0, 4);
  });
  texts.forEach((text, k) => {
    if (cells[k] && cells[k].textContent !== text) cells[k].textContent = text;
  });
}

// --- circumplex --------------------------------------------------------------------------------------------------

const SHAPES = [
  (c, x, y, r) => c.arc(x, y, r, 0, 7),
  (c, x, y, r) => c.rect(x - r, y - r, 2 * r, 2 * r),
  (c, x, y, r) => polygon(c, x, y, 1.3 * r, 3),
  (c, x, y, r) => polygon(c, x, y, 1.3 * r, 4),
];

function polygon(context, x, y, radius, corners) {
  for (let k = 0; k < corners; k++) {
    const angle = (2 * Math.PI * k) / corners - Math.PI / 2;
    context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  context.closePath();
}

function drawCircle() {
  const canvas = $("circle");
  const { width, height, ratio } = pixelsOf(canvas);
  const context = canvas.getContext("2d");
  const [middle, radius] = [width / 2, width / 2 - 16 * ratio];
  context.clearRect(0, 0, width, height);
  context.strokeStyle = css("--edge");
  context.lineWidth = ratio;
  context.beginPath();
  context.arc(middle, middle, radius, 0, 7);
  context.moveTo(middle - radius, middle);
  context.lineTo(middle + radius, middle);
  context.moveTo(middle, middle - radius);
  context.lineTo(middle, middle + radius);
  context.stroke();
  context.fillStyle = css("--soft");
  context.font = `${Math.round(10.5 * ratio)}px system-ui, sans-serif`;
  context.textAlign = "center";
  for (const [text, x, y] of [["aroused", 0, -1.08], ["calm", 0, 1.12], ["pleasant", 0.66, 0.07], ["unpleasant", -0.64, 0.07]]) {
    context.fillText(text, middle + x * radius, middle + y * radius);
  }
  visiblePeople().forEach((person, k) => drawTrail(context, person, SHAPES[k % SHAPES.length], middle, radius, ratio));
}

function drawTrail(context, person, shape, middle, radius, ratio) {
  const { track } = person;
  if (shown.row < 0 || !track.series.has("valence") || !track.series.has("arousal")) return;
  const first = Math.max(rowAt(shown.time - TRAIL) + 1, 0);
  const stride = Math.max(1, Math.floor((shown.row - first) / 150));
  const place = (row) => [middle + track.value("valence", row) * radius, middle - track.value("arousal", row) * radius];
  context.strokeStyle = person.colour;
  context.lineWidth = 2 * ratio;
  let before = null;
  for (let row = first; row <= shown.row; row += stride) {
    const [x, y] = place(row);
    if (before && Number.isFinite(x + before[0])) {
      context.globalAlpha = 0.15 + 0.7 * (1 - (shown.time - shown.times[row]) / TRAIL);
      context.beginPath();
      context.moveTo(...before);
      context.lineTo(x, y);
      context.stroke();
    }
    before = [x, y];
  }
  context.globalAlpha = 1;
  const [x, y] = place(shown.row);
  if (!Number.isFinite(x + y)) return;
  context.beginPath();
  shape(context, x, y, 5 * ratio);
  context.fillStyle = person.colour;
  context.fill();
  context.lineWidth = 1.5 * ratio;
  context.strokeStyle = css("--text");
  context.stroke();
}

// --- shares and means ----------------------------------------------------------------------------------------------

/** Sums over the rows of a person from ``first`` to ``last``, those that are excluded left out. */
function figuresOf(person, first = 0, last = shown.times.length - 1, out = excluded(person)) {
  const { track } = person;
  const labels = new Float64Array(EXPRESSIONS.length + 1);
  const sums = { valence: [0, 0], arousal: [0, 0] };
  let [frames, seen, rows] = [0, 0, 0];
  for (let row = first; row <= last; row++) {
    if (out && out[row]) continue;
    frames++;
    const k = track.at(row);
    if (k < 0) continue;
    rows++;
    seen += track.state[k] === 1;
    labels[track.labels[k]]++;
    for (const name of ["valence", "arousal"]) {
      const code = track.series.get(name)?.[k];
      if (code) {
        sums[name][0] += code - 1;
        sums[name][1]++;
      }
    }
  }
  const mean = (name) => {
    const { low, high } = RANGES.get(name) ?? { low: NaN, high: NaN };
    return sums[name][1] ? low + (sums[name][0] / sums[name][1] / (LEVELS - 1)) * (high - low) : NaN;
  };
  const labelled = rows - labels[0];
  const shares = EXPRESSIONS.map((name, k) => [name, labelled ? labels[k + 1] / labelled : NaN]);
  return { frames, rows, coverage: frames ? seen / frames : NaN, shares, valence: mean("valence"), arousal: mean("arousal") };
}

function buildShares() {
  const used = EXPRESSIONS.filter((name) => RANGES.has(`p_${name}`));
  const head = ["person", "rows", "seen", ...used, "valence", "arousal"].map((text) => make("th", { scope: "col", text }));
  const rows = visiblePeople().map((person) => {
    const figures = figuresOf(person);
    const shares = new Map(figures.shares);
    const texts = [
      figures.rows.toLocaleString("en"), shareText(figures.coverage), ...used.map((name) => shareText(shares.get(name))),
      numberText(figures.valence, true), numberText(figures.arousal, true),
    ];
    return make("tr", {}, make("th", { scope: "row", text: title(person) }), ...texts.map((text) => make("td", { text })));
  });
  $("shares").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
}

/** What the strips of a person show, as a table for screen readers: the recording in at most 20 parts. */
function hiddenTable(person) {
  const parts = Math.min(20, shown.times.length);
  const head = ["from", "to", "seen", "expression", "valence", "arousal"].map((text) => make("th", { scope: "col", text }));
  const rows = [];
  for (let k = 0; k < parts; k++) {
    const first = Math.floor((k * shown.times.length) / parts);
    const last = Math.floor(((k + 1) * shown.times.length) / parts) - 1;
    const figures = figuresOf(person, first, last, null);
    const [name, share] = figures.shares.reduce((best, each) => (each[1] > best[1] ? each : best), ["", 0]);
    const texts = [
      clockText(shown.times[first], 1), clockText(shown.times[last], 1), shareText(figures.coverage),
      name ? `${name} (${shareText(share)})` : "none", numberText(figures.valence, true), numberText(figures.arousal, true),
    ];
    rows.push(make("tr", {}, ...texts.map((text) => make("td", { text }))));
  }
  const caption = make("caption", { text: `${title(person)} over time` });
  const table = make("table", {}, caption, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  return make("div", { class: "unseen" }, table);
}

function preparePanels() {
  when("cursor", writeValues);
  when("cursor", drawCircle);
  when("cursor", drawBoxes);
  for (const what of ["people", "marks"]) when(what, buildShares);
  for (const work of [buildValues, drawCircle, drawBoxes, listPeople]) when("people", work);
  when("theme", drawCircle);
  $("with-boxes").addEventListener("change", drawBoxes);
  $("save-people").addEventListener("click", () => offerFile("people.csv", peopleCsv()));
}

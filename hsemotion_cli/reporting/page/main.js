// What happens when the page is opened, and what keys do.

let printing = false;

const KEYS = {
  " ": togglePlay,
  "[": () => jump(-1),
  "]": () => jump(1),
  "+": () => zoom(0.5),
  "=": () => zoom(0.5),
  "-": () => zoom(2),
  0: () => show(shown.first, shown.last),
  m: markHere,
};

function onKey(event) {
  const within = event.target.closest("input, select, textarea");
  if (within && within.type !== "checkbox") return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && event.target.closest("button, a, input")) return; // the space bar presses buttons
  const { key } = event;
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const sign = key === "ArrowLeft" ? -1 : 1;
    if (event.shiftKey) seek(shown.time + sign);
    else stepFrames(sign);
  } else if (/^[1-9]$/.test(key)) choosePerson(Number(key) - 1);
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
}

function writeHead() {
  document.title = `${facts.name} – hsemotion`;
  $("name").textContent = facts.name;
  $("facts-line").textContent = facts.summary;
  for (const sentence of facts.warnings) $("warnings").append(make("li", { text: sentence }));
  $("warnings").hidden = !facts.warnings.length;
  if (facts.index) {
    $("index-link").href = facts.index;
    $("index-link").hidden = false;
  }
  for (const [name, text] of facts.about) $("about").append(make("dt", { text: name }), make("dd", { text }));
  for (const name of EXPRESSIONS.filter((each) => RANGES.has(`p_${each}`))) {
    const colour = make("i", {});
    colour.style.background = palette.expressions[name];
    $("legend").append(make("span", {}, colour, name));
  }
  writeMoreLegend();
}

/** What else the strips need explained: the heat map, its ticks, and hatching. */
function writeMoreLegend() {
  if (UNITS.some((unit) => RANGES.has(`${unit}_p`))) {
    const bar = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
    const context = bar.getContext("2d");
    heatTable(palette.heat.map(rgb)).forEach((word, k) => {
      context.fillStyle = `rgb(${word & 255} ${(word >> 8) & 255} ${(word >> 16) & 255})`;
      context.fillRect(k, 0, 1, 1);
    });
    $("legend").append(make("span", { class: "heat" }, "action unit 0", bar, "1"), make("span", {}, make("i", { class: "tick" }), "present"));
  }
  $("legend").append(make("span", {}, make("i", { class: "gap" }), "nothing known"));
}

function preparePrint() {
  matchMedia("print").addEventListener("change", (event) => {
    printing = event.matches;
    readInk();
    drawOverview();
    drawAll();
    drawCircle();
  });
}

async function readTimes() {
  const { data } = facts;
  [shown.times, shown.frames] = await Promise.all([numbers(data.times, data.frames), numbers(data.numbers, data.frames)]);
  for (let k = 0; k < data.frames; k++) shown.times[k] /= 1e6;
  const gaps = Array.from(shown.times.subarray(1, 2001), (time, k) => time - shown.times[k]).sort((a, b) => a - b);
  shown.step = gaps[gaps.length >> 1] || 0.04;
  shown.first = Math.min(facts.begins ?? Infinity, shown.times[0]);
  shown.last = Math.max(facts.ends ?? -Infinity, shown.times[data.frames - 1] + shown.step);
  [shown.from, shown.to] = [shown.first, shown.last];
  shown.time = shown.times[0];
  if (data.clock === "row") $("axis-unit").textContent = "rows";
}

async function open() {
  writeHead();
  readInk();
  prepareTheme(() => changed("theme"));
  preparePrint();
  preparePeople();
  prepareMarks();
  await readTimes();
  prepareStrips();
  preparePanels();
  prepareEvents();
  document.addEventListener("keydown", onKey);
  prepareVideo();
  await regroup();
  changed("marks");
  showTime(shown.times[0]);
  document.documentElement.dataset.ready = "true";
}

open().catch((error) => {
  $("live").className = "";
  $("live").textContent = `This page could not be opened: ${error.message}`;
  throw error;
});

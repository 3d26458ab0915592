// The strips of each person, the overview with its brush, the axis, and the cursor over all of them.

let sections = []; // {person, strips: [draw functions], thumbs}
let redrawing = 0;

const UNIT_HEIGHT = 10; // CSS pixels of the row of an action unit
const HEIGHTS = { ribbon: 44, labels: 16, valence: 52, arousal: 52, angles: 58, coverage: 10 };

function canvasOf(height, label) {
  const canvas = make("canvas", { role: "img", "aria-label": label });
  canvas.style.height = `${height}px`;
  seekable(canvas);
  return canvas;
}

function strip(caption, canvas) {
  return make("div", { class: "strip" }, caption, canvas);
}

function words(text) {
  return make("div", { class: "caption", text });
}

/** A caption with the ends of the vertical axis. */
function scaled(text, low, high) {
  const ends = make("span", { class: "scale" }, make("span", { text: high }), make("span", { text: low }));
  return make("div", { class: "caption axis" }, make("span", { text }), ends);
}

function usedUnits(track) {
  return UNITS.filter((unit) => track.series.has(`${unit}_p`));
}

/** The lines of valence or arousal: band of the models, thin as it was, thick smoothed. */
function affectLines(name, track) {
  const thick = track.series.has(`${name}_shown`) ? `${name}_shown` : name;
  const thin = track.series.has(`${name}_raw`) ? `${name}_raw` : name;
  return [
    { name: `${name}_least`, band: `${name}_most`, colour: ink.faint, opacity: 0.32 },
    { name: thin, colour: ink.faint, thick: 1, opacity: 1 },
    { name: thick, colour: ink.strong, thick: 2.2, opacity: 1, mean: true },
  ];
}

/** Angles in degrees that one strip shows together. */
const ANGLES = { head: ["head_pitch", "head_yaw", "head_roll"], gaze: ["gaze_pitch", "gaze_yaw"] };

/** The same degrees upwards and downwards, enough for all angles of a strip. */
function angleRange(names) {
  const most = names.flatMap((name) => [-RANGES.get(name).low, RANGES.get(name).high]);
  return Math.max(10, Math.min(180, Math.ceil(Math.max(...most) / 10) * 10));
}

function angleLines(names) {
  const looks = [
    { colour: rgb(palette.expressions.anger) },
    { colour: rgb(palette.expressions.surprise), dash: 6 },
    { colour: ink.strong, dash: 2 },
  ];
  return names.map((name, k) => ({ name, thick: 1.6, opacity: 1, ...looks[k] }));
}

function buildStrips(person) {
  const { track } = person;
  const rows = [];
  const add = (caption, height, label, draw) => {
    const canvas = canvasOf(height, `${title(person)}: ${label}`);
    rows.push({ element: strip(caption, canvas), draw: () => draw(canvas) });
  };
  if (EXPRESSIONS.some((name) => track.series.has(`p_${name}`))) {
    add(words("expression"), HEIGHTS.ribbon, "probabilities of the expressions over time", (c) => drawRibbon(c, track));
  }
  if (track.labels.some((k) => k)) add(words("label"), HEIGHTS.labels, "expression over time", (c) => drawLabels(c, track));
  for (const name of ["valence", "arousal"]) {
    if (!track.series.has(name)) continue;
    const draw = (c) => drawLines(c, track, affectLines(name, track), [-1, 1], [0, 0.5, 1]);
    add(scaled(name, "−1", "+1"), HEIGHTS[name], `${name} over time`, draw);
  }
  const units = usedUnits(track);
  if (units.length) {
    const caption = make("div", { class: "caption units" }, ...units.map((unit) => make("span", { text: unit, title: facts.unit_names[unit] })));
    caption.style.gridAutoRows = `${UNIT_HEIGHT}px`;
    add(caption, UNIT_HEIGHT * units.length, "probabilities of action units over time", (c) => drawHeat(c, track, units));
  }
  for (const [part, all] of Object.entries(ANGLES)) {
    const names = all.filter((name) => track.series.has(name));
    if (!names.length) continue;
    const most = angleRange(names);
    const marks = names.map((name, k) => `${name.split("_")[1]} ${["—", "- -", "···"][k]}`);
    const draw = (c) => drawLines(c, track, angleLines(names), [-most, most], [0, 0.5, 1]);
    add(scaled([part, ...marks].join(" "), `−${most}°`, `+${most}°`), HEIGHTS.angles, `${part} angles over time`, draw);
  }
  add(words("seen"), HEIGHTS.coverage, "frames in which the face was seen", (c) => drawCoverage(c, track));
  return rows;
}

function buildPerson(person, k) {
  const strips = buildStrips(person);
  const head = make("div", { class: "person-head" }, swatch(person), make("h2", {}, nameEditor(person)));
  const ids = person.ids.length > 1 ? `face ids ${person.ids.join(", ")}` : `face id ${person.ids[0]}`;
  const remarks = [k < 9 ? `key ${k + 1}` : "", ids].filter(Boolean);
  if (person.track.together) remarks.push(`both ids are in ${person.track.together.toLocaleString("en")} frames at once: perhaps two people`);
  head.append(make("span", { class: "hint", text: remarks.join(" · ") }));
  head.append(make("button", { text: "Hide", "aria-label": `Hide ${title(person)}`, onclick: () => setVisible(person, false) }));
  const thumbs = buildThumbs(person);
  const section = make("section", { class: "person", "aria-label": title(person) }, head);
  if (thumbs) section.append(strip(words("peaks"), thumbs));
  section.append(...strips.map(({ element }) => element), hiddenTable(person));
  return { person, section, strips, thumbs };
}

/** Images of the strongest moment of each expression, at their place in time; those that would overlap are left out. */
function buildThumbs(person) {
  const peaks = facts.peaks.filter((peak) => person.ids.includes(peak.face));
  if (!peaks.length) return null;
  const thumbs = make("div", { class: "thumbs" });
  for (const peak of peaks.sort((a, b) => b.score - a.score)) {
    const at = clockText(shown.times[peak.position], 1);
    const text = `${peak.expression} ${peak.score.toFixed(2)} at ${at}`;
    const button = make("button", { title: `${text}: go there`, "aria-label": `${title(person)}: ${text}; go there` });
    button.style.borderColor = palette.expressions[peak.expression];
    button.append(make("img", { src: peak.image, alt: "", width: 44, height: 44 }), make("span", { text: peak.expression }));
    button.addEventListener("click", () => seekRow(peak.position));
    button.position = peak.position;
    thumbs.append(button);
  }
  return thumbs;
}

function placeThumbs(thumbs) {
  const taken = [];
  const width = thumbs.clientWidth;
  for (const button of thumbs.children) {
    const time = shown.times[button.position];
    const x = ((time - shown.from) / (shown.to - shown.from)) * width;
    const left = inside(x - 29, 0, Math.max(width - 58, 0));
    const free = x >= 0 && x <= width && taken.every((other) => Math.abs(other - left) >= 60);
    button.style.display = free ? "" : "none";
    button.style.left = `${left}px`;
    if (free) taken.push(left);
  }
}

function buildPersons() {
  sections = visiblePeople().map(buildPerson);
  $("persons").replaceChildren(...sections.map(({ section }) => section));
  const hidden = shown.people.filter((person) => !person.visible);
  if (hidden.length) {
    const text = `${hidden.length} more ${hidden.length === 1 ? "person is" : "people are"} not shown; choose below under People.`;
    $("persons").append(make("p", { class: "hint", text }));
  }
  if (!shown.people.length) $("persons").append(make("p", { text: "No face was found in any analysed frame." }));
  markChosen();
  redraw();
}

function markChosen() {
  sections.forEach(({ section }, k) => section.classList.toggle("chosen", sections.length > 1 && k === shown.chosen));
}

function redraw() {
  if (!redrawing) redrawing = requestAnimationFrame(drawAll);
}

/** Draw what can be seen; what is scrolled away waits until it comes into view. */
function drawAll() {
  redrawing = 0;
  for (const { strips, thumbs } of sections) {
    for (const one of strips) {
      one.stale = true;
      drawSeen(one);
    }
    if (thumbs) placeThumbs(thumbs);
  }
  drawAxis();
  drawBrush();
  placeCursor();
}

function drawSeen(one) {
  const { top, bottom } = one.element.getBoundingClientRect();
  if (!one.stale || (!printing && (bottom < -200 || top > window.innerHeight + 200))) return;
  one.draw();
  one.stale = false;
}

function drawStale() {
  for (const { strips } of sections) strips.forEach(drawSeen);
}

// --- axis, cursor, overview ------------------------------------------------------------------------------------

function ticksOf(from, to, most) {
  const least = (to - from) / most;
  const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  const step = steps.find((each) => each >= least) ?? Math.ceil(least / 86400) * 86400;
  const ticks = [];
  for (let k = Math.ceil(from / step); k * step <= to; k++) ticks.push(k * step);
  return { step, ticks };
}

function drawAxis() {
  const canvas = $("axis");
  const { width, height, ratio } = pixelsOf(canvas);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const { step, ticks } = ticksOf(shown.from, shown.to, Math.max(2, width / ratio / 85));
  context.fillStyle = context.strokeStyle = css("--soft");
  context.font = `${Math.round(11 * ratio)}px system-ui, sans-serif`;
  context.textBaseline = "top";
  const place = (time) => ((time - shown.from) / (shown.to - shown.from)) * width;
  for (const time of ticks) {
    const x = Math.round(place(time));
    context.fillRect(x, 0, ratio, 5 * ratio);
    const text = clockText(time, step < 0.1 ? 2 : step < 1 ? 1 : 0);
    const half = context.measureText(text).width / 2;
    context.fillText(text, inside(x - half, 0, width - 2 * half), 7 * ratio);
  }
  for (const cut of facts.cuts) {
    if (cut >= shown.from && cut <= shown.to) context.fillRect(Math.round(place(cut)), 0, Math.max(1, ratio), height);
  }
}

function placeCursor() {
  const width = $("lane").clientWidth;
  const share = (shown.time - shown.from) / (shown.to - shown.from);
  $("cursor").style.transform = `translateX(${share * width}px)`;
  $("cursor").hidden = share < 0 || share > 1;
  const whole = (shown.time - shown.first) / (shown.last - shown.first);
  $("overview-cursor").style.left = `${100 * whole}%`;
  const lane = $("lane");
  lane.setAttribute("aria-valuenow", shown.time.toFixed(2));
  lane.setAttribute("aria-valuetext", `${clockText(shown.time, 1)}${shown.row < 0 ? ", not analysed" : ""}`);
}

/** The whole recording: a line of expressions for each person, cuts and marks above it. */
function drawOverview() {
  const canvas = $("overview-canvas");
  const pixels = pixelsOf(canvas);
  const people = visiblePeople();
  const [from, to] = [shown.from, shown.to];
  [shown.from, shown.to] = [shown.first, shown.last];
  const { low, high } = columnSpans(pixels.width);
  people.forEach((person, k) => {
    const [top, bottom] = [k, k + 1].map((at) => Math.round((at * pixels.height) / people.length));
    for (let c = 0; c < pixels.width; c++) {
      const name = high[c] < low[c] ? "" : commonest(person.track, low[c], high[c]);
      if (!name) hatch(pixels, c, top, bottom - 1);
      else for (let y = top; y < bottom - 1; y++) pixels.words[y * pixels.width + c] = packed(ink.expressions.get(name));
    }
  });
  const place = (time) => Math.round(((time - shown.first) / (shown.last - shown.first)) * (pixels.width - 1));
  for (const cut of facts.cuts) blend(pixels, inside(place(cut), 0, pixels.width - 1), 0, pixels.height, ink.strong, 0.7);
  for (const { onset, offset } of shown.marks) {
    for (let c = place(onset); c <= place(offset); c++) blend(pixels, inside(c, 0, pixels.width - 1), 0, 5 * pixels.ratio, ink.tick);
  }
  put(canvas);
  [shown.from, shown.to] = [from, to];
}

function drawBrush() {
  const whole = shown.last - shown.first;
  $("brush").classList.toggle("whole", shown.to - shown.from >= whole);
  $("brush").style.left = `${(100 * (shown.from - shown.first)) / whole}%`;
  $("brush").style.width = `${(100 * (shown.to - shown.from)) / whole}%`;
}

/** Seconds at a pointer over an element that shows the times from ``from`` to ``to``. */
function timeUnder(event, element, from, to) {
  const { left, width } = element.getBoundingClientRect();
  return from + inside((event.clientX - left) / width, 0, 1) * (to - from);
}

/** Follow a pointer until it is released. */
function dragging(event, element, move, end = () => {}) {
  element.setPointerCapture(event.pointerId);
  const stop = (last) => {
    element.removeEventListener("pointermove", move);
    element.removeEventListener("pointerup", stop);
    element.removeEventListener("pointercancel", stop);
    end(last);
  };
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", stop);
  element.addEventListener("pointercancel", stop);
}

/** A click or drag on a canvas seeks; with shift it marks a span; ctrl and wheel zooms. */
function seekable(canvas) {
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const at = (e) => timeUnder(e, canvas, shown.from, shown.to);
    const first = at(event);
    if (event.shiftKey) {
      begun = first;
      const move = (e) => {
        shown.time = at(e);
        changed("cursor");
        drawMarks();
      };
      dragging(event, canvas, move, (e) => {
        begun = null;
        openMark(first, at(e));
      });
      event.preventDefault();
      return;
    }
    seek(first);
    dragging(event, canvas, (e) => seek(at(e)));
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(Math.exp(event.deltaY / 300), timeUnder(event, canvas, shown.from, shown.to));
  }, { passive: false });
}

function prepareBrush() {
  const overview = $("overview");
  const [left, right] = $("brush").children;
  const at = (event) => timeUnder(event, overview, shown.first, shown.last);
  left.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    dragging(event, left, (e) => show(Math.min(at(e), shown.to - 1e-3), shown.to));
  });
  right.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    dragging(event, right, (e) => show(shown.from, Math.max(at(e), shown.from + 1e-3)));
  });
  $("brush").addEventListener("pointerdown", (event) => {
    if (shown.to - shown.from >= shown.last - shown.first) return; // the whole is shown: a new part is drawn
    event.stopPropagation();
    const [from, to, first] = [shown.from, shown.to, at(event)];
    let moved = false;
    const move = (e) => {
      moved ||= Math.abs(e.clientX - event.clientX) > 3;
      if (moved) show(from + at(e) - first, to + at(e) - first);
    };
    dragging(event, $("brush"), move, () => moved || seek(first));
  });
  overview.addEventListener("pointerdown", (event) => {
    const first = at(event);
    let moved = false;
    const move = (e) => {
      moved ||= Math.abs(e.clientX - event.clientX) > 3;
      if (moved) show(Math.min(first, at(e)), Math.max(first, at(e)));
    };
    dragging(event, overview, move, () => moved || seek(first));
  });
}

function prepareStrips() {
  prepareBrush();
  when("view", redraw);
  when("cursor", placeCursor);
  when("people", buildPersons);
  when("people", drawOverview);
  when("marks", drawOverview);
  when("theme", () => {
    readInk();
    drawOverview();
    redraw();
  });
  $("lane").setAttribute("aria-valuemin", shown.first.toFixed(2));
  $("lane").setAttribute("aria-valuemax", shown.last.toFixed(2));
  $("zoom-in").addEventListener("click", () => zoom(0.5));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("zoom-all").addEventListener("click", () => show(shown.first, shown.last));
  window.addEventListener("scroll", drawStale, { passive: true });
  new ResizeObserver(() => {
    drawOverview();
    redraw();
    if (!printing) fitBoxes(); // what is cleared while a page is printed comes out white
  }).observe($("strips"));
}

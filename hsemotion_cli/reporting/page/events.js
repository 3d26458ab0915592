// Moments to jump to: changes of expression, one expression, an action unit, gaps, cuts, marks, events of a file.

const SHORTEST = 0.2; // seconds that an expression must last to count as an event

let kinds = new Map(); // name -> function that gives times in seconds
let times = []; // of the chosen kind, in order

/** Times at which runs of a value begin, for runs that are long enough; ``of(k)`` gives the value of a row, 0: none. */
function onsets(track, of, wanted) {
  const begins = [];
  let from = 0;
  for (let k = 1; k <= track.count; k++) {
    if (k < track.count && of(k) === of(from)) continue;
    const [begin, end] = [shown.times[track.start + from], shown.times[track.start + k - 1]];
    if (of(from) && wanted(of(from)) && end - begin >= SHORTEST - shown.step) begins.push(begin);
    from = k;
  }
  return begins;
}

function gapsOf(track) {
  const begins = [];
  for (let k = 1; k < track.count; k++) if (track.state[k - 1] && !track.state[k]) begins.push(shown.times[track.start + k]);
  for (let row = 0; row + 1 < shown.times.length; row++) {
    if (shown.times[row + 1] - shown.times[row] > holds(row)) begins.push(shown.times[row] + holds(row));
  }
  if (track.start > 0) begins.push(shown.times[0]);
  if (track.start + track.count < shown.times.length) begins.push(shown.times[track.start + track.count]);
  return begins;
}

function listKinds() {
  const tracks = () => {
    const people = visiblePeople();
    return people.length > 1 ? [people[shown.chosen].track] : people.map((person) => person.track);
  };
  const each = (work) => () => tracks().flatMap(work);
  kinds = new Map([["changes of expression", each((track) => onsets(track, (k) => track.labels[k], () => true))]]);
  EXPRESSIONS.forEach((name, j) => {
    if (RANGES.has(`p_${name}`)) kinds.set(name, each((track) => onsets(track, (k) => track.labels[k], (label) => label === j + 1)));
  });
  UNITS.forEach((unit, j) => {
    if (RANGES.has(`${unit}_p`)) kinds.set(unit, each((track) => onsets(track, (k) => (track.units[k] >> j) & 1, () => true)));
  });
  kinds.set("gaps", each(gapsOf));
  if (facts.cuts.length) kinds.set("cuts", () => facts.cuts);
  kinds.set("peaks", () => facts.peaks.map((peak) => shown.times[peak.position]));
  kinds.set("marks", () => shown.marks.map((mark) => mark.onset));
  for (const kind of eventKinds()) kinds.set(kind, () => eventsOf(kind).map((event) => event.onset));
  const choice = $("event-kind");
  const before = choice.value;
  choice.replaceChildren(...[...kinds.keys()].map((name) => make("option", { value: name, text: name })));
  if (kinds.has(before)) choice.value = before;
  listTimes();
}

/** The kinds of the events that were given with --events: all of them, and each label. */
function eventKinds() {
  const labels = [...new Set(facts.events.map((event) => event.label))].sort();
  return facts.events.length ? ["events", ...labels.map((label) => `event: ${label}`)] : [];
}

/** Events of a kind that are about the chosen person, or about anybody who is shown where there is only one. */
function eventsOf(kind) {
  const people = visiblePeople();
  const about = people.length > 1 ? [people[shown.chosen]] : people;
  return facts.events.filter(
    (event) => (kind === "events" || kind === `event: ${event.label}`) && about.some((person) => concerns(event, person)),
  );
}

/** The events of the kind that is chosen to jump to, as areas to draw. */
function chosenEvents() {
  const kind = $("event-kind").value;
  return kind.startsWith("event") ? eventsOf(kind).map((event) => ({ ...event, kind: "event" })) : [];
}

function listTimes() {
  const work = kinds.get($("event-kind").value);
  times = [...new Set(work ? work() : [])].sort((a, b) => a - b);
  const person = visiblePeople()[shown.chosen];
  const whose = visiblePeople().length > 1 && person ? ` of ${title(person)}` : "";
  $("event-count").textContent = `${times.length.toLocaleString("en")}${whose}`;
  drawMarks();
}

function jump(direction) {
  const margin = 1e-3;
  const to = direction > 0 ? times.find((time) => time > shown.time + margin) : times.findLast((time) => time < shown.time - margin);
  if (to === undefined) return announce(`No ${direction > 0 ? "next" : "previous"} event of this kind.`);
  seek(to);
  if (to < shown.from || to > shown.to) {
    const half = (shown.to - shown.from) / 2;
    show(to - half, to + half);
  }
}

function choosePerson(k) {
  const people = visiblePeople();
  if (k >= people.length) return;
  shown.chosen = k;
  markChosen();
  listTimes();
  sections[k].section.scrollIntoView({ block: "nearest" });
  announce(`${title(people[k])} is chosen.`);
}

function prepareEvents() {
  when("people", listKinds);
  when("marks", listTimes);
  $("event-kind").addEventListener("change", listTimes);
  $("last-event").addEventListener("click", () => jump(-1));
  $("next-event").addEventListener("click", () => jump(1));
}

// Spans of time that the reader marks: to label, to exclude, or to check again.

let begun = null; // seconds at which a mark was begun with the key m
let waiting = null; // span in seconds that the form is open for

function frameBounds(from, to) {
  const [onset, offset] = from <= to ? [from, to] : [to, from];
  return [inside(onset, shown.first, shown.last), inside(offset, shown.first, shown.last)];
}

function openMark(from, to) {
  waiting = frameBounds(from, to);
  const choice = $("mark-person");
  choice.replaceChildren(make("option", { value: "", text: "everybody" }));
  for (const person of shown.people.slice(0, 400)) choice.append(make("option", { value: title(person), text: title(person) }));
  $("mark-span").textContent = `${clockText(waiting[0])} to ${clockText(waiting[1])}`;
  $("mark-form").hidden = false;
  $("mark-label").value = "";
  $("mark-form").scrollIntoView({ block: "center" });
  $("mark-kind").focus();
}

/** The key m: the first time a mark begins at the cursor, the second time it ends there. */
function markHere() {
  if (begun === null) {
    begun = shown.time;
    announce(`Mark begins at ${clockText(begun)}; press m again where it ends.`);
  } else {
    openMark(begun, shown.time);
    begun = null;
  }
  drawMarks();
}

function addMark(event) {
  event.preventDefault();
  const [onset, offset] = waiting;
  shown.marks.push({
    person: $("mark-person").value, onset, offset, kind: $("mark-kind").value, label: $("mark-label").value.trim(),
  });
  shown.marks.sort((a, b) => a.onset - b.onset);
  closeMark();
  changed("marks");
}

function closeMark() {
  $("mark-form").hidden = true;
  waiting = null;
  drawMarks();
}

/** Whether a mark or event is about a person: it names nobody, this name, or one of its face ids, alone or as "Face 3". */
function concerns(mark, person) {
  return !mark.person || mark.person === title(person) || person.ids.some((id) => [`Face ${id}`, String(id)].includes(mark.person));
}

/** For each frame whether it is left out of a person's figures; null where nothing is. */
function excluded(person) {
  const marks = shown.marks.filter((mark) => mark.kind === "exclude" && concerns(mark, person));
  if (!marks.length) return null;
  const out = new Uint8Array(shown.times.length);
  for (const { onset, offset } of marks) {
    for (let row = rowAt(onset - 1e-9) + 1; row < out.length && shown.times[row] <= offset; row++) out[row] = 1;
  }
  return out;
}

function drawMarks() {
  const areas = [...chosenEvents(), ...shown.marks];
  if (begun !== null) areas.push({ onset: begun, offset: shown.time, kind: "label", label: "…", person: "" });
  if (waiting) areas.push({ onset: waiting[0], offset: waiting[1], kind: "label", label: "new mark", person: "" });
  const width = shown.to - shown.from;
  $("mark-areas").replaceChildren(
    ...areas
      .filter(({ onset, offset }) => offset >= shown.from && onset <= shown.to)
      .slice(0, 500)
      .map((mark) => {
        const words = [mark.kind === "label" || mark.kind === "event" ? mark.label || "label" : mark.label ? `${mark.kind}: ${mark.label}` : mark.kind];
        if (mark.person) words.push(mark.person);
        const area = make("div", { class: mark.kind }, make("span", { text: words.join(" · ") }));
        area.style.left = `${(100 * (mark.onset - shown.from)) / width}%`;
        area.style.width = `${Math.max((100 * (mark.offset - mark.onset)) / width, 0.1)}%`;
        return area;
      }),
  );
}

function listMarks() {
  drawMarks();
  const list = $("marks-list");
  if (!shown.marks.length) {
    list.replaceChildren(make("p", { class: "hint", text: "No marks." }));
    return;
  }
  const head = ["from", "to", "kind", "label", "person", ""].map((text) => (text ? make("th", { scope: "col", text }) : make("td")));
  const rows = shown.marks.slice(0, 1000).map((mark, k) =>
    make(
      "tr",
      {},
      make("td", {}, make("button", { text: clockText(mark.onset), title: "Go there", onclick: () => seek(mark.onset) })),
      make("td", { text: clockText(mark.offset) }),
      make("td", { class: "words", text: mark.kind }),
      make("td", { class: "words", text: mark.label }),
      make("td", { class: "words", text: mark.person || "everybody" }),
      make("td", {}, make("button", { text: "Delete", "aria-label": `Delete mark ${k + 1}`, onclick: () => removeMark(mark) })),
    ),
  );
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  list.replaceChildren(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": "marks-title" }, table));
}

function removeMark(mark) {
  shown.marks.splice(shown.marks.indexOf(mark), 1);
  changed("marks");
}

function marksCsv() {
  const seconds = (value) => String(Math.round(value * 1e6) / 1e6);
  const lines = shown.marks.map((mark) =>
    csvLine([facts.name, mark.person, seconds(mark.onset), seconds(mark.offset), mark.kind, mark.label]),
  );
  return csvLine(["recording", "person", "onset", "offset", "kind", "label"]) + lines.join("");
}

function announce(text) {
  $("live").textContent = text;
}

function prepareMarks() {
  shown.marks = facts.marks.map((mark) => ({ ...mark }));
  $("mark-form").addEventListener("submit", addMark);
  $("mark-cancel").addEventListener("click", closeMark);
  $("save-marks").addEventListener("click", () => offerFile("marks.csv", marksCsv()));
  when("marks", listMarks);
  when("view", drawMarks);
}

// Who is who: face ids, the names given to them, and the people that these make. A name on two face ids makes them one.

const faces = facts.data.faces; // what is known of each face id; ``name`` may be changed
const SHOWN_AT_FIRST = 8;

/** Each person: key, name or "", the ids, its track once it is read, whether it is shown, colour and letter. */
function groupPeople() {
  const before = new Map(shown.people.map((person) => [person.key, person]));
  const groups = new Map();
  for (const face of faces) {
    const key = face.name || `\0${face.id}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(face);
  }
  shown.people = [...groups].map(([key, members]) => {
    const ids = members.map((face) => face.id);
    const old = before.get(key);
    const same = old && old.ids.join() === ids.join();
    return {
      key, ids, members, name: members[0].name, colour: members[0].colour, track: same ? old.track : null,
      visible: members.some((face) => face.visible), rows: members.reduce((sum, face) => sum + face.rows, 0),
    };
  });
}

function title(person) {
  return person.name || `Face ${person.ids[0]}`;
}

function visiblePeople() {
  return shown.people.filter((person) => person.visible && person.track);
}

/** Read the tiles of the people that are shown; the others wait until they are. */
async function readTracks() {
  for (const person of shown.people) {
    if (!person.visible || person.track) continue;
    for (const face of person.members) {
      face.reading ??= faceRows(face).then((rows) => new Track(rows));
      face.track = await face.reading;
    }
    person.track = merged(person.members.map((face) => face.track));
  }
}

async function regroup() {
  groupPeople();
  await readTracks();
  shown.chosen = inside(shown.chosen, 0, Math.max(visiblePeople().length - 1, 0));
  changed("people");
}

function preparePeople() {
  const most = [...faces].sort((a, b) => b.rows - a.rows).slice(0, SHOWN_AT_FIRST);
  faces.forEach((face, k) => {
    face.name = face.person;
    face.colour = palette.people[face.id >= 0 ? face.id % palette.people.length : k % palette.people.length];
    face.visible = most.includes(face);
  });
}

function rename(person, name) {
  for (const face of person.members) face.name = name.trim();
  return regroup();
}

/** Make one person of two: both get one name, that of the second if it has one. */
function merge(person, into) {
  const name = into.name || person.name || `Face ${into.ids[0]}`;
  for (const face of [...person.members, ...into.members]) face.name = name;
  return regroup();
}

function separate(person) {
  for (const face of person.members) face.name = "";
  return regroup();
}

function setVisible(person, visible) {
  for (const face of person.members) face.visible = visible;
  return regroup();
}

function nameEditor(person) {
  const button = make("button", { class: "rename", title: "Click to give a name", text: title(person) });
  button.setAttribute("aria-label", `${title(person)}: change the name`);
  button.addEventListener("click", () => {
    const field = make("input", { value: person.name, "aria-label": `Name of ${title(person)}`, maxlength: "100" });
    let done = false;
    const finish = (keep) => {
      if (done) return;
      done = true;
      if (keep && field.value.trim() !== person.name) rename(person, field.value);
      else field.replaceWith(button);
    };
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") finish(true);
      if (event.key === "Escape") finish(false);
    });
    field.addEventListener("blur", () => finish(true));
    button.replaceWith(field);
    field.focus();
    field.select();
  });
  return button;
}

function mergeChoice(person) {
  const others = shown.people.filter((other) => other !== person).slice(0, 50);
  if (!others.length) return "";
  const choice = make("select", { "aria-label": `Merge ${title(person)} with another person` });
  choice.append(make("option", { value: "", text: "same person as …" }));
  others.forEach((other, k) => choice.append(make("option", { value: k, text: title(other) })));
  choice.addEventListener("change", () => choice.value !== "" && merge(person, others[Number(choice.value)]));
  return choice;
}

const HEADS = {
  similar: "person_score: similarity of each face id to the person's other ones, -1 to 1",
  "to another": "person_second: similarity of each face id to the most similar other person, -1 to 1",
};

/** The similarities of a person's face ids, in the order of the ids; a dash where the table has none. */
function similarity(person, key) {
  return person.members.map((face) => (face[key] === null ? "–" : face[key].toFixed(2).replace("-", "−"))).join(", ");
}

function listPeople() {
  const table = make("table");
  const alike = faces.some((face) => face.score !== null || face.second !== null);
  const names = ["person", "face ids", "rows", ...(alike ? ["similar", "to another"] : []), "shown", "merge"];
  table.append(make("thead", {}, make("tr", {}, ...names.map((text) => make("th", { scope: "col", text, title: HEADS[text] })))));
  const body = make("tbody");
  for (const person of shown.people.slice(0, 400)) {
    const box = make("input", { type: "checkbox", "aria-label": `Show ${title(person)}` });
    box.checked = person.visible;
    box.addEventListener("change", () => setVisible(person, box.checked));
    const actions = make("td", { class: "words" }, shown.people.length <= 60 ? mergeChoice(person) : "");
    if (person.ids.length > 1) actions.append(make("button", { text: "Separate", onclick: () => separate(person) }));
    body.append(
      make(
        "tr",
        {},
        make("th", { scope: "row" }, swatch(person), " ", nameEditor(person)),
        make("td", { text: person.ids.join(", ") }),
        make("td", { text: person.rows.toLocaleString("en") }),
        ...(alike ? [make("td", { text: similarity(person, "score") }), make("td", { text: similarity(person, "second") })] : []),
        make("td", {}, box),
        actions,
      ),
    );
  }
  table.append(body);
  $("people-list").replaceChildren(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": "people-title" }, table));
}

function swatch(person) {
  const element = make("i", { class: "swatch", "aria-hidden": "true" });
  element.style.background = person.colour;
  return element;
}

function peopleCsv() {
  const named = faces.filter((face) => face.name);
  return csvLine(["recording", "face_id", "person"]) + named.map((face) => csvLine([facts.name, face.id, face.name])).join("");
}

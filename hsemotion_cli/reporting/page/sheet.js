// The contact sheet: images of single moments with their labels, to mark as right, wrong or unsure.

const facts = JSON.parse(document.getElementById("facts").textContent);
const MARKS = ["right", "wrong", "unsure"];
const KEYS = { r: "right", w: "wrong", u: "unsure", x: "" };
const given = new Map(); // row of the table -> { mark, correct }
const cards = []; // { card, element, select, correction } in the order of the page
let unsaved = false;

const TITLES = {
  random: ["Random", () => `Drawn from ${facts.candidates.toLocaleString("en")} moments with a face (seed ${facts.seed}); they give the accuracy`],
  uncertain: ["Most uncertain", () =>
    facts.measure === "expression_score" ? "The lowest scores, since the table has no uncertainty" : "The highest uncertainty of the expression"],
  typical: ["Most typical", () => "The highest probabilities of each expression in turn"],
};

function clock(card) {
  return `${clockText(card.time)} · frame ${card.frame}`;
}

function whose(card) {
  return card.person || `face ${card.face}`;
}

function cardOf(card) {
  const position = cards.length;
  const buttons = MARKS.map((mark) =>
    make("button", { text: mark[0].toUpperCase() + mark.slice(1), "aria-pressed": "false", "data-mark": mark, onclick: () => toggle(card, mark) }),
  );
  const names = facts.expressions.filter((name) => name !== card.label);
  const select = make("select", { onchange: () => correct(card, select.value) }, make("option", { value: "", text: "not given" }),
    ...names.map((name) => make("option", { value: name, text: name })));
  const correction = make("label", { hidden: true }, "Right label", select);
  const swatch = make("i", {});
  swatch.style.background = facts.colours[card.label];
  const score = card.score === null ? "" : ` ${card.score.toFixed(2)}`;
  const more = card.uncertainty === null ? "" : ` · uncertainty ${card.uncertainty.toFixed(2)}`;
  const title = `${card.label}, ${whose(card)} at ${clock(card)}`;
  const element = make("div", { class: "card", tabindex: position ? "-1" : "0", role: "group", "aria-label": title },
    make("img", { src: card.image, alt: `${whose(card)} at ${clock(card)}`, loading: "lazy" }),
    make("div", { class: "label" }, swatch, make("span", { text: card.label + score })),
    make("div", { class: "where", text: `${clock(card)} · ${whose(card)}${more}` }),
    make("div", { class: "marks", role: "group", "aria-label": "Is the label right?" }, ...buttons),
    correction,
  );
  element.addEventListener("keydown", (event) => onKey(event, position));
  element.addEventListener("focusin", () => choose(position));
  cards.push({ card, element, select, correction });
  return make("li", {}, element);
}

/** Only one image is a stop of the tab key, with what is in it; arrows lead from image to image. */
function choose(position) {
  cards.forEach(({ element }, k) => element.setAttribute("tabindex", k === position ? "0" : "-1"));
}

function toggle(card, mark) {
  setMark(card, given.get(card.row)?.mark === mark ? "" : mark);
}

function setMark(card, mark) {
  if (mark) given.set(card.row, { mark, correct: mark === "wrong" ? (given.get(card.row)?.correct ?? "") : "" });
  else given.delete(card.row);
  unsaved = given.size > 0;
  showMarks();
}

function correct(card, name) {
  given.set(card.row, { mark: "wrong", correct: name });
  unsaved = true;
  showMarks();
}

/** Show the marks: a moment that is in several groups has the same mark in all of them. */
function showMarks() {
  for (const { card, element, select, correction } of cards) {
    const { mark, correct: name } = given.get(card.row) ?? { mark: "", correct: "" };
    element.dataset.mark = mark;
    for (const button of element.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.mark === mark));
    correction.hidden = mark !== "wrong";
    select.value = name;
  }
  const random = facts.groups.find((group) => group.kind === "random").cards;
  const count = (wanted) => random.filter((card) => given.get(card.row)?.mark === wanted).length;
  const [right, wrong, unsure] = MARKS.map(count);
  $("counts").textContent =
    `${right + wrong + unsure} of ${random.length} random moments marked: ${right} right, ${wrong} wrong, ${unsure} unsure`;
}

function onKey(event, position) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName === "SELECT") return;
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) {
    event.preventDefault();
    cards[position + step]?.element.focus();
  } else if (event.key.toLowerCase() in KEYS) {
    event.preventDefault();
    const { card, select } = cards[position];
    const mark = KEYS[event.key.toLowerCase()];
    setMark(card, mark);
    $("live").textContent = mark ? `marked ${mark}` : "mark removed";
    if (mark === "wrong") select.focus();
    else if (mark) cards[position + 1]?.element.focus();
  }
}

function marksCsv() {
  const lines = facts.groups.flatMap(({ kind, cards: chosen }) =>
    chosen.filter((card) => given.has(card.row)).map((card) => {
      const { mark, correct: name } = given.get(card.row);
      return csvLine([facts.name, kind, card.frame, card.time, card.face, card.label, mark, name]);
    }),
  );
  return csvLine(["recording", "group", "frame", "time", "face_id", "label", "mark", "correct"]) + lines.join("");
}

function sectionOf({ kind, cards: chosen }) {
  const [name, why] = TITLES[kind];
  return make("section", { "aria-labelledby": `group-${kind}` },
    make("h2", { id: `group-${kind}`, text: `${name} (${chosen.length})` }),
    make("p", { class: "hint", text: `${why()}.` }),
    make("ol", {}, ...chosen.map(cardOf)),
  );
}

document.title = `${facts.name} – contact sheet – hsemotion`;
$("title").textContent = `${facts.name}: contact sheet`;
$("groups").append(...facts.groups.filter((group) => group.cards.length).map(sectionOf));
$("command").append("For the accuracy with its interval: ", make("code", { text: "hsemotion sheet TABLE --marks sheet-marks.csv" }));
$("save").addEventListener("click", () => {
  offerFile("sheet-marks.csv", marksCsv());
  unsaved = false;
});
window.addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});
prepareTheme(() => {});
showMarks();
document.documentElement.dataset.ready = "true";

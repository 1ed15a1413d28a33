// Wires keys and buttons to the work, and keeps it; the last part of the page's script.

const sheetText = $("sheet").textContent;
const work = new Work(JSON.parse(sheetText));
const shelf = new Shelf(work.sheet.nonce, sheetText);
const isResumed = work.restore(shelf.readNews());
const view = new View(work);
let storageNotice = null;

// --- what a change brings with it ---------------------------------------------------------------

/** Before anything is done: count the time, and take over what another window has done. */
function tick() {
  work.tick(performance.now(), document.visibilityState === "visible");
  catchUp();
}

function catchUp() {
  const { index, criterion } = work;
  if (!work.restore(shelf.readNews())) return;
  work.history = [];
  Object.assign(work, { index, criterion });
  $("judge").value = work.judge;
  view.shownItem = null;
  view.render();
}

function keep() {
  if (shelf.write(work.kept())) {
    storageNotice?.remove();
    storageNotice = null;
  } else {
    storageNotice ??= view.notice(
      "This browser keeps nothing for this page (site data is blocked, or full): save the file before you close it.",
    );
  }
}

/** Show the work after a change of it, and keep it. */
function changed() {
  keep();
  if (view.render()) showItem();
}

/** Bring a new item into sight, and tell a screen reader what it is. */
function showItem() {
  const { persona, time_slot: slot } = work.item.scenario;
  const isFresh = !$("fresh").hidden;
  const scenario = isFresh ? `New scenario: ${spoken(persona.name)}, ${spoken(slot.label)}. ` : "";
  view.announce(`${scenario}Tip ${work.index + 1} of ${work.entries.length}: ${spoken(work.item.tip)}`);
  $("said").textContent = "";
  const [first, last] = isFresh ? [".scenario", ".scenario"] : [".tip", ".criteria"];
  view.bringIntoSight(document.querySelector(first), document.querySelector(last));
}

// --- what a judge can do ------------------------------------------------------------------------

function goTo(index) {
  tick();
  work.goTo(index);
  changed();
}

function goToNextOpen() {
  tick();
  const { index } = work;
  if (!work.goToNextOpen()) return view.openScores();
  changed();
  if (work.index === index) view.say("No other tip is open");
}

function goToCriterion(place) {
  work.goToCriterion(place);
  view.render();
  view.announce(`${nameOf(work.criterion)}: ${work.entry.scores[work.criterion] ?? "not scored"}`);
}

function nameOf(place) {
  return spoken(work.criteria[place]).replaceAll("_", " ");
}

function score(value) {
  const place = work.criterion;
  tick();
  work.score(value);
  changed();
  const isWhole = work.stateOf(work.entry) === "whole";
  view.say(
    `${nameOf(place)} ${value}`,
    isWhole ? "Scored; Enter for the next open tip" : `Now ${nameOf(work.criterion)}`,
  );
}

function clearScore() {
  tick();
  if (work.clear()) {
    changed();
    view.say(`${nameOf(work.criterion)} cleared`);
  }
}

function undo() {
  tick();
  if (work.undo()) {
    view.shownItem = null;
    changed();
    view.say(`Undone: tip ${work.index + 1}, ${nameOf(work.criterion)}`);
  } else {
    view.say("Nothing to undo");
  }
}

function openList() {
  view.openList((index) => {
    focusPage();
    goTo(index);
  });
}

function enterNote() {
  $("note").focus();
  $("note").setSelectionRange($("note").value.length, $("note").value.length);
}

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: url, download: name }).click();
  // The download has begun by then; revoked at once, some browsers would save nothing.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function save() {
  download(work.fileName, work.judgedText());
  work.isUnsaved = false;
  keep();
  view.render();
  const half = work.count("half");
  const halves = half > 0 ? `; ${half} half-scored saved as unscored, kept here` : "";
  const text = `Saved ${work.fileName} to your downloads: ${work.count("whole")} of ${work.entries.length} tips scored${halves}`;
  view.say(text);
  if ($("scores-dialog").open) $("scores-said").textContent = text;
}

async function copy() {
  const text = work.judgedText();
  try {
    await navigator.clipboard.writeText(text);
    $("scores-said").textContent = "Copied. Paste it into a file and save that as UTF-8.";
  } catch {
    $("copy-text").hidden = false;
    $("copy-text").value = text;
    $("copy-text").select();
    $("scores-said").textContent = "The browser does not let this page copy: press Ctrl+C.";
  }
}

async function loadFile(file) {
  try {
    const count = work.load(await file.text());
    view.shownItem = null;
    $("judge").value = work.judge;
    changed();
    view.openScores();
    $("scores-said").textContent = `Loaded ${counted(count, "scored tip")}; undo takes that back.`;
  } catch (error) {
    $("scores-said").textContent = error.message;
  }
}

function clearAll() {
  const button = $("clear-all");
  if (button.dataset.asked !== "yes") {
    button.dataset.asked = "yes";
    button.textContent = "Press again to clear all scores and notes";
    return;
  }
  work.clearAll();
  view.shownItem = null;
  changed();
  view.openScores();
  $("scores-said").textContent = "Cleared; undo takes that back.";
}

// --- keys ---------------------------------------------------------------------------------------

const ACTIONS = {
  ArrowLeft: () => goTo(work.index - 1),
  ArrowRight: () => goTo(work.index + 1),
  ArrowUp: () => goToCriterion(work.criterion - 1),
  ArrowDown: () => goToCriterion(work.criterion + 1),
  Enter: goToNextOpen,
  Backspace: clearScore,
  Delete: clearScore,
  u: undo,
  n: enterNote,
  l: openList,
  r: () => view.openRubric(),
  s: () => view.openScores(),
  "?": () => view.openHelp(),
};
const REPEATABLE = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "u"]);

/** Return the key by what it says, or, on a keyboard without Latin letters or digits, by its place. */
function keyOf(event) {
  if (/^[a-z0-9]$/i.test(event.key)) return event.key.toLowerCase();
  const byPlace = /^(?:Key([A-Z])|(?:Digit|Numpad)([0-9]))$/.exec(event.code);
  const isOther = event.key.length === 1 && !event.shiftKey && event.key !== "?";
  return byPlace && isOther ? (byPlace[1]?.toLowerCase() ?? byPlace[2]) : event.key;
}

function isField(element) {
  return element.matches("input:not([type=checkbox]), textarea");
}

function onControlKey(event, key) {
  if (key === "s") {
    event.preventDefault();
    if (!event.repeat) save();
  } else if (key === "z" && !event.shiftKey && !isField(event.target)) {
    event.preventDefault();
    undo();
  }
}

function onDigit(event, digit) {
  const field = view.rows[work.criterion].querySelector("input");
  if (field !== null) {
    field.focus();
    field.select(); // the digit itself is typed by the browser, into the field
  } else if (work.isScore(digit)) {
    event.preventDefault();
    score(digit);
  }
}

document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.altKey || event.defaultPrevented) return;
  const key = keyOf(event);
  if (event.ctrlKey || event.metaKey) return onControlKey(event, key);
  if (document.querySelector("dialog[open]") !== null) return;
  if (isField(event.target)) {
    if (key === "Escape") focusPage();
    return;
  }
  if (key.length === 1 && !shelf.hasSingleKeys) return;
  if (event.repeat && !REPEATABLE.has(key)) return;
  if (/^[0-9]$/.test(key)) return onDigit(event, Number(key));
  const isPressing = key === "Enter" && event.target.closest("button, a") !== null;
  const isScrolling = /^Arrow(Up|Down)$/.test(key) && event.target.closest("[data-scrolls]") !== null;
  if (!Object.hasOwn(ACTIONS, key) || isPressing || isScrolling) return;
  event.preventDefault();
  ACTIONS[key]();
});

// --- buttons and fields -------------------------------------------------------------------------

function onClick(id, act) {
  $(id).addEventListener("click", (event) => {
    releaseFocus(event);
    act();
  });
}

/** Put the focus where keys mean what they mean on the page. */
function focusPage() {
  $("judging").focus({ preventScroll: true });
}

/** On a click with a pointer, give Enter back to the page; who pressed a key stays on the button. */
function releaseFocus(event) {
  if (event.detail > 0 && document.querySelector("dialog[open]") === null) focusPage();
}

onClick("previous", () => goTo(work.index - 1));
onClick("next", goToNextOpen);
onClick("undo", undo);
onClick("save", save);
onClick("save-here", save);
onClick("copy", copy);
onClick("load", () => $("load-file").click());
onClick("clear-all", clearAll);
onClick("open-list", openList);
onClick("open-rubric", () => view.openRubric());
onClick("open-scores", () => view.openScores());
onClick("open-help", () => view.openHelp());

$("load-file").addEventListener("change", (event) => {
  if (event.target.files.length > 0) loadFile(event.target.files[0]);
  event.target.value = "";
});

view.rows.forEach((row, place) => {
  for (const button of row.querySelectorAll("button")) {
    button.addEventListener("click", (event) => {
      releaseFocus(event);
      work.goToCriterion(place);
      if (button.getAttribute("aria-pressed") === "true") clearScore();
      else score(Number(button.dataset.score));
    });
  }
  const field = row.querySelector("input");
  field?.addEventListener("focus", () => goToCriterion(place));
  field?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (field.value.trim() === "" || takeTyped(field, place)) focusPage();
  });
  field?.addEventListener("change", () => takeTyped(field, place));
});

/** Score by what was typed; say whether it was a score. */
function takeTyped(field, place) {
  const text = field.value.trim();
  const value = Number(text);
  if (text !== "" && value === work.entry.scores[place]) return true;
  work.goToCriterion(place);
  if (text === "") {
    clearScore();
  } else if (/^-?\d+$/.test(text) && work.isScore(value)) {
    score(value);
    return true;
  } else {
    field.setAttribute("aria-invalid", "true");
    view.say(`${nameOf(place)}: a whole number from ${work.lowest} to ${work.highest}`);
  }
  return false;
}

$("note").addEventListener("input", () => {
  work.setNote($("note").value);
  changed();
});
$("judge").addEventListener("input", () => {
  work.setJudge($("judge").value);
  changed();
});
$("judge").addEventListener("keydown", (event) => {
  if (event.key === "Enter") focusPage();
});
$("single-keys").addEventListener("change", (event) => {
  shelf.hasSingleKeys = event.target.checked;
});

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it, on the backdrop
  });
}

// --- the page's own life ------------------------------------------------------------------------

document.addEventListener("visibilitychange", tick);
window.addEventListener("focus", tick);

window.addEventListener("beforeunload", (event) => {
  if (work.isUnsaved && work.isTouched && !shelf.isOpen) event.preventDefault();
});

// The same sheet in another window.
window.addEventListener("storage", (event) => {
  if (event.key === shelf.key) catchUp();
});

for (const other of shelf.unsavedOthers()) {
  const { experiment, exported_at: exportedAt } = other.work.sheet;
  const tips = counted(other.work.count("whole"), "scored tip");
  view.notice(
    `In this browser: ${tips} of another sheet (${spoken(experiment)}, exported ${exportedAt.slice(0, 10)}) that nobody has saved.`,
    {
      "Save them": (done) => {
        download(other.work.fileName, other.work.judgedText());
        shelf.markSaved(other);
        done();
      },
      "Forget them": (done) => {
        shelf.forget(other.key);
        done();
      },
    },
  );
}

$("judge").value = work.judge;
$("single-keys").checked = shelf.hasSingleKeys;
if (!shelf.isOpen) keep();
tick();
view.render();
view.say(
  isResumed && work.isTouched
    ? `Welcome back: ${counted(work.count("whole"), "tip")} scored so far`
    : "Before the first tip, read the whole rubric (r)",
);
focusPage();

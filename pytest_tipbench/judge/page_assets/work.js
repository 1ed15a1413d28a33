// The judge's work on a sheet: scores, notes, where the judge is, and how it is kept and handed in.
// Touches no element and no storage; the time comes in as an argument.

const LONGEST_PAUSE_SECONDS = 120; // what lies between two keystrokes beyond this was no judging
const FEWEST_TIMED = 3; // scored tips before their median says anything
const LONGEST_HISTORY = 500;

// What the package's own sheets escape beyond what JSON demands.
const ESCAPED = /[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]|\udb40[\udc00-\udc7f]/g;

class Work {
  constructor(sheet) {
    this.sheet = sheet;
    this.criteria = sheet.rubric.criteria.map((criterion) => criterion.name);
    [this.lowest, this.highest] = sheet.rubric.scale;
    this.judge = sheet.judge ?? "";
    this.entries = sheet.items.map((item) => ({
      scores: this.criteria.map((name) => item.scores[name] ?? null),
      note: item.note ?? "",
      seconds: 0,
    }));
    this.history = [];
    this.isUnsaved = false;
    this.lastTick = null;
    this.goTo(0);
  }

  get item() {
    return this.sheet.items[this.index];
  }

  get entry() {
    return this.entries[this.index];
  }

  // --- what there is --------------------------------------------------------------------------

  /** Return `whole`, `half` or `open`. */
  stateOf(entry) {
    if (!entry.scores.includes(null)) return "whole";
    return entry.scores.every((score) => score === null) ? "open" : "half";
  }

  count(state) {
    return this.entries.filter((entry) => this.stateOf(entry) === state).length;
  }

  get isTouched() {
    return this.entries.some((entry) => entry.note !== "" || this.stateOf(entry) !== "open");
  }

  /** Return the seconds that what is left will take, at the median pace; null where unknown. */
  secondsLeft() {
    const timed = this.entries
      .filter((entry) => this.stateOf(entry) === "whole" && entry.seconds > 0)
      .map((entry) => entry.seconds)
      .sort((a, b) => a - b);
    if (timed.length < FEWEST_TIMED) return null;
    const middle = timed.length >> 1;
    const median = timed.length % 2 ? timed[middle] : (timed[middle - 1] + timed[middle]) / 2;
    return median * (this.entries.length - this.count("whole"));
  }

  isScore(value) {
    return Number.isInteger(value) && value >= this.lowest && value <= this.highest;
  }

  // --- going about ----------------------------------------------------------------------------

  goTo(index) {
    this.index = Math.min(Math.max(index, 0), this.entries.length - 1);
    this.criterion = Math.max(this.entry.scores.indexOf(null), 0);
  }

  goToCriterion(place) {
    this.criterion = Math.min(Math.max(place, 0), this.criteria.length - 1);
  }

  /** Go to the next tip that is not wholly scored, round the end; say whether there is one. */
  goToNextOpen() {
    const count = this.entries.length;
    for (let step = 1; step <= count; step += 1) {
      const index = (this.index + step) % count;
      if (this.stateOf(this.entries[index]) !== "whole") {
        this.goTo(index);
        return true;
      }
    }
    return false;
  }

  /** Count the time since the last call as spent on the current tip, until it is scored. */
  tick(nowMilliseconds, isWatching) {
    if (this.lastTick !== null && this.stateOf(this.entry) !== "whole") {
      const seconds = (nowMilliseconds - this.lastTick) / 1000;
      this.entry.seconds += Math.min(Math.max(seconds, 0), LONGEST_PAUSE_SECONDS);
    }
    this.lastTick = isWatching ? nowMilliseconds : null;
  }

  // --- scoring --------------------------------------------------------------------------------

  /** Score the current criterion and go on to the next one, or to one that was left out. */
  score(value) {
    this.#remember([this.index]);
    this.entry.scores[this.criterion] = value;
    if (this.criterion + 1 < this.criteria.length) this.criterion += 1;
    else if (this.entry.scores.includes(null)) this.criterion = this.entry.scores.indexOf(null);
  }

  /** Take the current criterion's score away, or else the one before it; say whether there was one.
   *
   * A digit has gone on by then: who strikes a wrong one and takes it back means that one.
   */
  clear() {
    if (this.entry.scores[this.criterion] === null && this.criterion > 0) this.criterion -= 1;
    if (this.entry.scores[this.criterion] === null) return false;
    this.#remember([this.index]);
    this.entry.scores[this.criterion] = null;
    return true;
  }

  setNote(text) {
    this.entry.note = text;
    this.isUnsaved = true;
  }

  setJudge(text) {
    this.judge = text;
    this.isUnsaved = true;
  }

  clearAll() {
    this.#remember(this.entries.keys(), { withNotes: true });
    for (const entry of this.entries) {
      entry.scores.fill(null);
      entry.note = "";
    }
    this.goTo(0);
  }

  /** Take back the last change, and go where it was made; say whether there was one. */
  undo() {
    const before = this.history.pop();
    if (before === undefined) return false;
    for (const { index, ...entry } of before.entries) Object.assign(this.entries[index], entry);
    this.index = before.index;
    this.criterion = before.criterion;
    this.isUnsaved = true;
    return true;
  }

  /** Remember the scores for undo; the notes too where they change with them: typing has its own. */
  #remember(indexes, { withNotes = false } = {}) {
    const entries = Array.from(indexes, (index) => {
      const { scores, note } = this.entries[index];
      return { index, scores: [...scores], ...(withNotes ? { note } : {}) };
    });
    this.history.push({ index: this.index, criterion: this.criterion, entries });
    if (this.history.length > LONGEST_HISTORY) this.history.shift();
    this.isUnsaved = true;
  }

  // --- keeping and handing in -----------------------------------------------------------------

  /** Return what the browser keeps. */
  kept() {
    const { judge, index, isUnsaved, entries } = this;
    return { judge, index, isUnsaved, entries };
  }

  /** Take back what `kept` gave, as far as it fits the sheet; say whether it did. */
  restore(kept) {
    const entries = kept?.entries;
    if (!Array.isArray(entries) || entries.length !== this.entries.length) return false;
    this.entries = entries.map((entry) => ({
      scores: this.criteria.map((_, place) => {
        const score = entry?.scores?.[place];
        return this.isScore(score) ? score : null;
      }),
      note: typeof entry?.note === "string" ? entry.note : "",
      seconds: Number.isFinite(entry?.seconds) ? Math.max(entry.seconds, 0) : 0,
    }));
    if (typeof kept.judge === "string") this.judge = kept.judge;
    this.isUnsaved = kept.isUnsaved === true;
    this.goTo(Number.isInteger(kept.index) ? kept.index : 0);
    return true;
  }

  /** Return the sheet to hand in: half-scored tips as unscored. */
  judged() {
    return {
      ...this.sheet,
      judge: this.judge.trim() || null,
      items: this.sheet.items.map((item, index) => {
        const entry = this.entries[index];
        const isWhole = this.stateOf(entry) === "whole";
        const scores = this.criteria.map((name, place) => [name, isWhole ? entry.scores[place] : null]);
        return { ...item, scores: Object.fromEntries(scores), note: entry.note };
      }),
    };
  }

  /** Return the text of the file to hand in, with nothing unseen in it. */
  judgedText() {
    const text = JSON.stringify(this.judged(), null, 2);
    return `${text.replace(ESCAPED, (signs) => {
      const units = Array.from({ length: signs.length }, (_, place) => signs.charCodeAt(place));
      return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
    })}\n`;
  }

  get fileName() {
    const name = this.sheet.experiment.replace(/[^\p{L}\p{M}\p{N}._-]+/gu, "-");
    return `scores-${name.replace(/^[.-]+|[.-]+$/g, "") || "sheet"}.json`;
  }

  /** Take over the scores and notes of a saved file of this sheet; return how many tips it scores.
   *
   * Throws an Error that says what is wrong with the file.
   */
  load(text) {
    let saved;
    try {
      saved = JSON.parse(text);
    } catch {
      throw new Error("This is not a saved scores file: it is not JSON.");
    }
    if (saved?.nonce !== this.sheet.nonce || !Array.isArray(saved.items)) {
      throw new Error("This file was not saved from this sheet.");
    }
    const byId = new Map(saved.items.map((item) => [item?.id, item]));
    const taken = [];
    this.sheet.items.forEach(({ id }, index) => {
      const scores = this.criteria.map((name) => byId.get(id)?.scores?.[name]);
      if (scores.every((score) => this.isScore(score))) taken.push({ index, scores, note: byId.get(id).note });
    });
    if (taken.length > 0) this.#remember(taken.map(({ index }) => index), { withNotes: true });
    for (const { index, scores, note } of taken) {
      this.entries[index].scores = scores;
      if (typeof note === "string" && note !== "") this.entries[index].note = note;
    }
    if (typeof saved.judge === "string" && this.judge.trim() === "") this.judge = saved.judge;
    this.goTo(this.index);
    return taken.length;
  }
}

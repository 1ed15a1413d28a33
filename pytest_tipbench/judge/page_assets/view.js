// Puts the work on the page. Reads the work, changes elements, decides nothing.

const $ = (id) => document.getElementById(id);

class View {
  constructor(work) {
    this.work = work;
    this.blocks = View.#blocksOf(work.sheet.items);
    this.shownItem = null;
    this.shownBlock = null;
    this.shownSection = null;
    this.shownCriterion = null;
    this.scrolled = new Map();
    this.rows = [...document.querySelectorAll(".criterion")];
    show($("experiment"), work.sheet.experiment);
    for (const text of document.querySelectorAll("#file-name")) show(text, work.fileName);
    show($("command"), `pytest --judge-apply ${work.fileName}`);
  }

  /** Return each run of neighbouring items with one scenario: `{start, end}`. */
  static #blocksOf(items) {
    const blocks = [];
    let before = null;
    items.forEach((item, index) => {
      const scenario = JSON.stringify(item.scenario);
      if (scenario !== before) blocks.push({ start: index, end: index });
      blocks.at(-1).end = index + 1;
      before = scenario;
    });
    return blocks;
  }

  get block() {
    return this.blocks.find(({ end }) => this.work.index < end);
  }

  /** Say something on the page and to a screen reader, to which `more` is said besides. */
  say(text, more = "") {
    $("said").textContent = text;
    this.announce(more === "" ? text : `${text}. ${more}`);
  }

  /** Say something to a screen reader alone: what the page shows anyway. */
  announce(text) {
    $("announcer").textContent = text;
  }

  render() {
    const isNew = this.shownItem !== this.work.index;
    if (isNew) this.#renderItem();
    this.#renderScores();
    this.#renderProgress();
    this.#renderRubric();
    const hasMoved = this.shownCriterion !== null && this.shownCriterion !== this.work.criterion;
    if (hasMoved && !isNew) this.rows[this.work.criterion].scrollIntoView({ block: "nearest" });
    this.shownCriterion = this.work.criterion;
    return isNew;
  }

  /** Scroll to the first of two elements unless everything from it to the last is in sight. */
  bringIntoSight(first, last) {
    // On a narrow screen the style keeps the lower edge for what sticks there.
    const covered = parseFloat(getComputedStyle(document.documentElement).scrollPaddingBottom) || 0;
    const isAbove = first.getBoundingClientRect().top < 0;
    const isBelow = last.getBoundingClientRect().bottom > window.innerHeight - covered;
    if (isAbove || isBelow) first.scrollIntoView({ block: "start" });
  }

  // --- the item -------------------------------------------------------------------------------

  #renderItem() {
    const { work, block } = this;
    const isNewBlock = this.shownBlock !== block;
    if (isNewBlock) this.#renderScenario(work.item.scenario);
    $("block-count").textContent = `Scenario ${this.blocks.indexOf(block) + 1} of ${this.blocks.length}`;
    $("fresh").hidden = !(isNewBlock && this.shownBlock !== null);
    $("tip-count").textContent = `Tip ${work.index + 1} of ${work.entries.length}`;
    show($("tip"), work.item.tip);
    $("tip").scrollTop = 0;
    $("note").value = work.entry.note;
    $("previous").disabled = work.index === 0;
    this.shownBlock = block;
    this.shownItem = work.index;
  }

  #renderScenario({ id, persona, time_slot: slot, tasks }) {
    show($("persona"), persona.name);
    show($("description"), persona.description);
    show($("slot"), slot.label);
    show($("clock"), slot.local_time);
    show($("scenario-id"), id);
    $("tasks").replaceChildren(...tasks.map((task) => View.#task(task)));
  }

  static #task({ title, due, minutes, energy, notes }) {
    const facts = [
      due === undefined ? null : ["due", due],
      minutes === undefined ? null : ["takes", `${minutes} min`],
      energy === undefined ? null : ["energy", energy],
    ].filter((fact) => fact !== null);
    const task = make("li", {}, [makeShown("p", title, "task")]);
    if (facts.length > 0) {
      const list = facts.map(([name, value]) =>
        make("div", {}, [make("dt", { textContent: name }), makeShown("dd", value)]),
      );
      task.append(make("dl", { className: "facts" }, list));
    }
    if (notes !== undefined) task.append(makeShown("p", notes, "task-notes"));
    return task;
  }

  // --- the scores -----------------------------------------------------------------------------

  #renderScores() {
    const { work } = this;
    this.rows.forEach((row, place) => {
      const score = work.entry.scores[place];
      row.classList.toggle("current", place === work.criterion);
      row.classList.toggle("scored", score !== null);
      if (place === work.criterion) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
      for (const button of row.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(Number(button.dataset.score) === score));
      }
      const field = row.querySelector("input");
      if (field !== null && field !== document.activeElement) {
        field.value = score ?? "";
        field.removeAttribute("aria-invalid");
      }
    });
    $("undo").disabled = work.history.length === 0;
    $("tip-count").dataset.state = work.stateOf(work.entry);
  }

  #renderProgress() {
    const { work } = this;
    const total = work.entries.length;
    const whole = work.count("whole");
    const half = work.count("half");
    $("scored-count").textContent = `${whole} of ${total} scored${half > 0 ? `, ${half} half` : ""}`;
    $("time-left").textContent = View.#timeLeft(work.secondsLeft(), total - whole);
    $("progress").max = total;
    $("progress").value = whole;
    $("unsaved").hidden = !work.isUnsaved;
    $("next-label").textContent = whole === total ? "All scored: save" : "Next open tip";
    document.title = `${whole}/${total} · Judge tips · ${spoken(work.sheet.experiment)}`;
  }

  static #timeLeft(seconds, left) {
    if (left === 0) return "done";
    if (seconds === null) return "";
    const minutes = Math.max(Math.round(seconds / 60), 1);
    const hours = Math.floor(minutes / 60);
    return `about ${hours > 0 ? `${hours} h ${minutes % 60}` : minutes} min left`;
  }

  #renderRubric() {
    const { work } = this;
    const sections = [...document.querySelectorAll("#beside .section")];
    const place = String(work.criterion);
    const scrolledBy = $("beside").scrollTop;
    const current =
      sections.find((section) => section.dataset.place === place) ??
      sections.find((section) => section.dataset.place === "whole");
    for (const section of sections) section.hidden = section !== current;
    for (const entry of current.querySelectorAll("[data-level]")) {
      const isChosen = Number(entry.dataset.level) === work.entry.scores[work.criterion];
      entry.classList.toggle("chosen", isChosen);
    }
    if (this.shownSection === current) return;
    // Each section comes back as it was left: scrolled to where this judge looks.
    if (this.shownSection !== null) this.scrolled.set(this.shownSection, scrolledBy);
    $("beside").scrollTop = this.scrolled.get(current) ?? 0;
    this.shownSection = current;
  }

  // --- dialogs --------------------------------------------------------------------------------

  openRubric() {
    $("rubric-dialog").showModal();
    const heading = $("rubric-whole").querySelector(`[data-criterion="${this.work.criterion}"]`);
    $("rubric-whole").focus();
    if (this.work.isTouched) heading?.scrollIntoView();
  }

  openScores() {
    const { work } = this;
    const [whole, half, open] = ["whole", "half", "open"].map((state) => work.count(state));
    const halves = half > 0 ? `, ${half} half-scored (saved as unscored, kept here)` : "";
    $("scores-title").textContent = whole === work.entries.length ? "All tips are scored" : "Scores";
    $("scores-summary").textContent = `${counted(whole, "tip")} scored${halves}, ${open} open.`;
    $("scores-said").textContent = "";
    $("copy-text").hidden = true;
    $("clear-all").textContent = "Clear all scores and notes";
    delete $("clear-all").dataset.asked;
    if ($("scores-dialog").open) return;
    $("scores-dialog").showModal();
    $("save-here").focus();
  }

  openHelp() {
    $("help-dialog").showModal();
  }

  /** Open the list of all tips; `jump` is called with the index of the chosen one. */
  openList(jump) {
    const { work } = this;
    const groups = this.blocks.map(({ start, end }) => {
      const { persona, time_slot: slot } = work.sheet.items[start].scenario;
      const entries = work.entries.slice(start, end).map((_, place) => this.#listed(start + place, jump));
      return make("section", {}, [
        make("h3", {}, [makeShown("span", persona.name), " ", makeShown("span", slot.label, "quiet")]),
        make("ol", { start: start + 1 }, entries),
      ]);
    });
    $("list").replaceChildren(...groups);
    $("list-dialog").showModal();
    const current = $("list").querySelector("[aria-current]");
    current.scrollIntoView({ block: "center" });
    current.focus();
  }

  #listed(index, jump) {
    const { work } = this;
    const state = work.stateOf(work.entries[index]);
    const words = { whole: "scored", half: "half-scored", open: "open" }[state];
    const button = make("button", { type: "button", className: "listed" }, [
      make("span", { className: "state" }),
      make("span", { className: "number", textContent: index + 1 }),
      makeShown("span", work.sheet.items[index].tip, "start"),
      make("span", { className: "unseen-label", textContent: `, ${words}` }),
    ]);
    button.firstChild.dataset.state = state;
    if (index === work.index) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => {
      $("list-dialog").close();
      jump(index);
    });
    return make("li", {}, [button]);
  }

  // --- notices --------------------------------------------------------------------------------

  /** Put up a notice that stays, with buttons that are called with a function that removes it. */
  notice(text, actions = {}) {
    const notice = make("div", { className: "notice" }, [make("p", { textContent: text })]);
    notice.setAttribute("role", "alert");
    for (const [label, act] of Object.entries(actions)) {
      const button = make("button", { type: "button", textContent: label });
      button.addEventListener("click", () => act(() => notice.remove()));
      notice.append(button);
    }
    $("notices").append(notice);
    return notice;
  }
}

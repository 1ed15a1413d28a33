"use strict";
// Model text reaches the page through textContent alone.
(() => {
  const find = (id) => document.getElementById(id);
  const announce = (text) => { find("announcer").textContent = text; };

  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "class") element.className = value;
      else if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  // --- the board: sorting ------------------------------------------------------------------

  function sortByHeading(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = heading.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const first = heading.dataset.first;
        const opposite = first === "ascending" ? "descending" : "ascending";
        const direction = heading.getAttribute("aria-sort") === first ? opposite : first;
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", direction);
        body.append(...sorted(original, column, direction === "ascending" ? 1 : -1));
        announce(`sorted by ${button.textContent}, ${direction}`);
      });
    });
  }

  function sorted(rows, column, sign) {
    const value = (row) => row.cells[column].dataset.value;
    const numeric = rows.every((row) => value(row) === "" || !Number.isNaN(Number(value(row))));
    const compare = numeric
      ? (a, b) => Number(a) - Number(b)
      : (a, b) => a.localeCompare(b, "en", { numeric: true });
    return [...rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === "");  // unknown: last, both ways
      return sign * compare(a, b);
    });
  }

  // --- memory and patience -----------------------------------------------------------------

  function fitTheBudget() {
    const [seconds, gibibytes] = [find("most-seconds"), find("most-gibibytes")];
    const rows = [...find("board-table").tBodies[0].rows]
      .sort((a, b) => a.dataset.place - b.dataset.place);
    const within = (limit, known) => limit === "" || (known !== "" && Number(known) <= Number(limit));

    function show() {
      const fitting = rows.filter((row) => {
        const fits = within(seconds.value, row.dataset.latency)
          && within(gibibytes.value, row.dataset.gibibytes);
        for (const part of document.querySelectorAll(`[data-letter="${row.dataset.letter}"]`)) {
          part.classList.toggle("over-budget", !fits);
        }
        return fits;
      });
      find("fits").textContent = seconds.value === "" && gibibytes.value === ""
        ? "" : verdict(fitting, rows.length);
    }

    function verdict(fitting, count) {
      const best = fitting.find((row) => row.classList.contains("ranked"));
      const many = `${fitting.length} of ${count} rows ${fitting.length === 1 ? "fits" : "fit"}.`;
      if (!best) return many;
      const name = best.querySelector("th .who").textContent.trim().replace(/\s+/g, " ");
      const tier = best.cells[0].dataset.value;
      const told = tier ? `, tier ${tier}` : "";
      return `${many} The highest among them: ${best.dataset.letter} ${name}${told}.`;
    }

    rows.forEach((row, place) => { row.dataset.place = place; });
    seconds.addEventListener("input", show);
    gibibytes.addEventListener("input", show);
    find("budget").hidden = false;
    show();
  }

  // --- tips --------------------------------------------------------------------------------

  async function unpacked() {
    const bytes = Uint8Array.from(atob(find("data").textContent), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  function showTips(data) {
    const shown = new Set(data.rows.keys());
    let scenario = data.first_scenario;
    let chosenRow = null;
    const [select, order, cards] = [find("scenario"), find("order"), find("cards")];

    data.scenarios.forEach((one, place) => select.append(new Option(one.id, place)));
    data.rows.forEach((row, place) => {
      const box = make("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        if (box.checked) shown.add(place); else shown.delete(place);
        render();
      });
      find("rows").append(make("label", {}, box, ` ${row.letter} ${row.model} × ${row.prompt}`));
    });

    function go(place, row = null) {
      scenario = place;
      chosenRow = row;
      render();
      history.replaceState(null, "", `#tips=${encodeURIComponent(data.scenarios[place].id)}`);
    }

    function render() {
      const scores = (row) => data.rows[row].composites[scenario] ?? -Infinity;
      const rows = [...data.rows.keys()].filter((row) => shown.has(row));
      if (order.value === "score") rows.sort((a, b) => scores(b) - scores(a));
      select.value = scenario;
      find("previous").disabled = scenario === 0;
      find("next").disabled = scenario === data.scenarios.length - 1;
      find("chosen").textContent = `${rows.length} of ${data.rows.length}`;
      find("situation").replaceChildren(...situation(data.scenarios[scenario]));
      cards.replaceChildren(...rows.map((row) => card(data, row, scenario, row === chosenRow)));
      for (const cell of document.querySelectorAll("#map-table td.here")) cell.classList.remove("here");
      if (chosenRow !== null) mapButton(chosenRow, scenario)?.parentElement.classList.add("here");
    }

    select.addEventListener("change", () => go(Number(select.value)));
    order.addEventListener("change", render);
    find("previous").addEventListener("click", () => go(scenario - 1));
    find("next").addEventListener("click", () => go(scenario + 1));
    find("map-table").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const row = Number(button.dataset.row);
      if (!shown.has(row)) find("rows").querySelectorAll("input")[row].click();
      go(Number(button.dataset.scenario), row);
      find("tips").scrollIntoView();
      const card = cards.querySelector(".chosen");
      cards.scrollLeft = card.offsetLeft - cards.offsetLeft;
      card.focus({ preventScroll: true });
    });

    const named = decodeURIComponent(location.hash).match(/^#tips=(.*)$/s);
    const linked = named ? data.scenarios.findIndex((one) => one.id === named[1]) : -1;
    if (linked >= 0) scenario = linked;
    render();
    find("tips-view").hidden = false;
    if (linked >= 0) find("tips").scrollIntoView();
  }

  const mapButton = (row, scenario) =>
    find("map-table").querySelector(`button[data-row="${row}"][data-scenario="${scenario}"]`);

  function situation(one) {
    return [
      make("p", {}, make("strong", {}, one.who), `, ${one.when}`),
      make("p", { class: "quiet" }, one.description),
      make("ul", {}, ...one.tasks.map(([title, facts, notes]) => make("li", {}, title,
        facts ? make("span", { class: "quiet" }, ` (${facts})`) : null,
        notes ? make("div", { class: "note" }, notes) : null))),
    ];
  }

  function card(data, row, scenario, chosen) {
    const { letter, model, prompt, tier, composites } = data.rows[row];
    const score = composites[scenario];
    const cells = data.cells.filter((cell) => cell.row === row && cell.scenario === scenario);
    return make("article", { class: chosen ? "card chosen" : "card", tabIndex: -1,
      "aria-label": `${letter}, ${model} × ${prompt}` },
      make("h3", {}, make("span", { class: "letter" }, letter), `${model} `,
        make("span", { class: "prompt" }, prompt)),
      make("p", { class: "said" },
        score === null ? "no score in this scenario" : chip(data, "composite here", score, 2),
        tier === null ? null : `tier ${tier} overall`),
      ...cells.flatMap((cell) => completion(data, cell, cells.length > 1)),
      cells.length ? null : make("p", { class: "quiet" }, "This row has no cell here."));
  }

  function completion(data, cell, repeated) {
    const usable = cell.outcome === "ok" || cell.outcome === "short";
    const dropped = cell.dropped.map(([text, reason]) => make("li", {},
      make("div", { class: "tip", dir: "auto" }, text), make("div", { class: "note" }, reason)));
    if (cell.dropped_more) dropped.push(make("li", {}, `and ${cell.dropped_more} more`));
    return [
      repeated ? make("h4", {}, `Repeat ${cell.repeat}`) : null,
      make("p", { class: "measured" },
        make("span", { class: usable ? "outcome" : "outcome bad" }, cell.outcome),
        ` ${[...cell.facts, `seed ${cell.seed}`].join(" · ")}`),
      cell.error === null ? null : make("p", { class: "note" }, cell.error),
      make("ol", {}, ...cell.tips.map((tip) => tipItem(data, tip))),
      cell.missing ? make("p", { class: "note" },
        `${cell.missing} ${cell.missing === 1 ? "tip" : "tips"} did not come; `
        + `each counts ${data.missing_tip_score}.`) : null,
      dropped.length ? folded(`Dropped (${cell.dropped.length + cell.dropped_more})`,
        make("ol", {}, ...dropped)) : null,
      folded("Prompt", ...[cell.system, cell.user].filter((place) => data.prompts[place])
        .map((place) => make("pre", { dir: "auto" }, data.prompts[place]))),
      cell.completion === null ? null
        : folded("Raw completion", make("pre", { dir: "auto" }, cell.completion)),
      cell.thinking === null ? null
        : folded("Thinking", make("pre", { dir: "auto" }, cell.thinking)),
    ].filter((part) => part !== null);
  }

  function tipItem(data, tip) {
    const said = tip.judges.flatMap(([judge, scores, note]) => [
      make("div", { class: "said" }, `${judge}:`, ...scores.map((score, place) =>
        score === null ? null : chip(data, data.criteria[place], score, 0))),
      note ? make("p", { class: "note", dir: "auto" }, `“${note}”`) : null,
    ]);
    if (!tip.judges.length) said.push(make("div", { class: "said" }, "not judged yet"));
    return make("li", {}, make("p", { class: "tip", dir: "auto" }, tip.text),
      ...said.filter((part) => part !== null));
  }

  function chip(data, name, score, decimals) {
    const [low, high] = data.scale;
    const share = Math.min(Math.max((score - low) / (high - low), 0), 1);
    return make("span", { class: `chip s${Math.round(share * 8)}` },
      `${name} `, make("b", {}, score.toFixed(decimals)));
  }

  const folded = (title, ...inside) => make("details", {}, make("summary", {}, title), ...inside);

  // --- the map: arrow keys -----------------------------------------------------------------

  function walkTheMap(table) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const rowCount = table.tBodies[0].rows.length;
    const scenarioCount = table.tHead.rows[0].cells.length - 1;

    function next(button, event) {
      let [row, scenario] = [Number(button.dataset.row), Number(button.dataset.scenario)];
      if (event.key === "Home") return mapButton(row, 0);
      if (event.key === "End") return mapButton(row, scenarioCount - 1);
      const [down, right] = steps[event.key];
      for (;;) {  // over holes, to the edge
        row += down;
        scenario += right;
        if (row < 0 || row >= rowCount || scenario < 0 || scenario >= scenarioCount) return null;
        const target = mapButton(row, scenario);
        if (target) return target;
      }
    }

    table.addEventListener("keydown", (event) => {
      const button = event.target.closest("button");
      if (!button || !(event.key in steps || event.key === "Home" || event.key === "End")) return;
      event.preventDefault();
      next(button, event)?.focus();
    });
    table.addEventListener("focusin", (event) => {
      if (!event.target.matches("button")) return;
      for (const button of table.querySelectorAll('button[tabindex="0"]')) button.tabIndex = -1;
      event.target.tabIndex = 0;
    });
    if (!table.querySelector('button[tabindex="0"]')) table.querySelector("button").tabIndex = 0;
  }

  if (find("board-table")) sortByHeading(find("board-table"));
  if (find("most-seconds")) fitTheBudget();
  if (find("map-table")) {
    walkTheMap(find("map-table"));
    unpacked().then(showTips, () => { find("tips-failed").hidden = false; });
  }
})();

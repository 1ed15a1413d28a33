// What this browser keeps of a judge's work, by the sheet's nonce; the only part that knows storage.
// Beside the work lies the sheet itself, so that work whose page is gone can still be saved.

const SHELF = "tipbench-judge:";
const SHEET_SUFFIX = ":sheet";
const SINGLE_KEYS = "tipbench-judge-single-keys";

class Shelf {
  constructor(nonce, sheetText) {
    this.key = SHELF + nonce;
    this.sheetText = sheetText;
    this.seen = null; // what was last read or written here
    this.isOpen = this.#tryOpen();
  }

  #tryOpen() {
    try {
      // Touching it throws where site data is blocked, writing to it where there is no room.
      this.storage = window.localStorage;
      this.storage.setItem(`${SHELF}probe`, "1");
      this.storage.removeItem(`${SHELF}probe`);
      return true;
    } catch {
      this.storage = null;
      return false;
    }
  }

  /** Return what is kept of this sheet, where it is new here: at first, or from another window.
   *
   * Null where there is nothing new, or nothing that can be read.
   */
  readNews() {
    const text = this.storage?.getItem(this.key) ?? null;
    if (text === this.seen) return null;
    this.seen = text;
    return this.#readJson(this.key);
  }

  /** Keep the work; say whether that succeeded. */
  write(kept) {
    if (this.storage === null) return false;
    const text = JSON.stringify(kept);
    this.isOpen = this.#put(this.key, text);
    if (this.isOpen) this.seen = text;
    if (this.isOpen && this.storage.getItem(this.key + SHEET_SUFFIX) === null) {
      this.#put(this.key + SHEET_SUFFIX, this.sheetText); // without it the work is kept all the same
    }
    return this.isOpen;
  }

  /** Store a text; where there is no room, work on other sheets that was saved makes some. */
  #put(key, text) {
    for (const isLast of [false, true]) {
      try {
        this.storage.setItem(key, text);
        return true;
      } catch {
        if (isLast) return false;
        for (const other of this.#others()) if (!other.work?.isUnsaved) this.forget(other.key);
      }
    }
  }

  /** Return the work on other sheets that has scores and was never saved. */
  unsavedOthers() {
    return this.#others().filter(({ work }) => work?.isUnsaved && work.count("whole") > 0);
  }

  #others() {
    if (this.storage === null) return [];
    return Object.keys(this.storage)
      .filter((key) => key.startsWith(SHELF) && key.endsWith(SHEET_SUFFIX))
      .map((key) => key.slice(0, -SHEET_SUFFIX.length))
      .filter((key) => key !== this.key)
      .map((key) => ({ key, work: this.#workOf(key) }));
  }

  #workOf(key) {
    try {
      const work = new Work(this.#readJson(key + SHEET_SUFFIX));
      return work.restore(this.#readJson(key)) ? work : null;
    } catch {
      return null; // not a sheet that this page understands
    }
  }

  /** Note that work on another sheet was saved. */
  markSaved({ key, work }) {
    work.isUnsaved = false;
    this.#put(key, JSON.stringify(work.kept()));
  }

  forget(key) {
    this.storage?.removeItem(key);
    this.storage?.removeItem(key + SHEET_SUFFIX);
  }

  get hasSingleKeys() {
    return this.storage?.getItem(SINGLE_KEYS) !== "off";
  }

  set hasSingleKeys(isOn) {
    try {
      this.storage?.setItem(SINGLE_KEYS, isOn ? "on" : "off");
    } catch {
      // It holds for this visit then.
    }
  }

  #readJson(key) {
    try {
      return JSON.parse(this.storage?.getItem(key) ?? "null");
    } catch {
      return null;
    }
  }
}

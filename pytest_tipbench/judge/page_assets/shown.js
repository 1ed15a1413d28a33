// How text that may hold anything is shown: as text, with nothing invisible and nothing reordered.

// What shows nothing, or reorders or swallows what stands beside it: control characters, lone
// surrogates, line and paragraph separators, default ignorables (zero-width signs, bidirectional
// controls, fillers, tags, variation selectors), interlinear annotation.
const UNSEEN = String.raw`[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\uFFF9-\uFFFB]`;

// The same signs where writing needs them: line ends, flags and families of emoji, the joiners of
// Arabic, Indic and Mongolian scripts, variants of emoji and Han characters.
const NEEDED = [
  String.raw`\r?\n|\t`,
  String.raw`\u{1F3F4}[\u{E0020}-\u{E007E}]{1,6}\u{E007F}`,
  String.raw`(?<=\p{Extended_Pictographic}\uFE0F?|\p{Emoji_Modifier})\u200D(?=\p{Extended_Pictographic})`,
  String.raw`(?<=[\p{M}\p{scx=Arab}\p{scx=Syrc}\p{scx=Mong}])[\u200C\u200D](?=[\p{L}\p{M}])`,
  String.raw`(?<=\p{Emoji})[\uFE0E\uFE0F]`,
  String.raw`(?<=\p{Script=Han})[\uFE00-\uFE02\u{E0100}-\u{E01EF}]`,
].join("|");

const SIGNS = new RegExp(`(?<needed>${NEEDED})|(?<unseen>(?<sign>${UNSEEN})\\k<sign>*)`, "gu");

/** Return the parts of a text in order: `{text}`, or `{text, label}` for what cannot be seen. */
function partsOf(text) {
  const parts = [];
  let plain = "";
  let end = 0;
  for (const match of text.matchAll(SIGNS)) {
    const { needed, unseen, sign } = match.groups;
    plain += text.slice(end, match.index) + (needed ?? "");
    end = match.index + match[0].length;
    if (unseen !== undefined) {
      const code = sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      const count = unseen.length / sign.length;
      parts.push({ text: plain }, { text: unseen, label: `U+${code}${count > 1 ? ` ×${count}` : ""}` });
      plain = "";
    }
  }
  parts.push({ text: plain + text.slice(end) });
  return parts.filter((part) => part.text !== "");
}

/** Put a text into an element; what cannot be seen becomes a small box with its code point. */
function show(element, text) {
  element.replaceChildren(
    ...partsOf(text).map((part) => {
      if (part.label === undefined) return document.createTextNode(part.text);
      return make("span", { className: "unseen", dir: "ltr", textContent: part.label });
    }),
  );
}

/** Return a text for where only text can stand, such as a title or an announcement. */
function spoken(text) {
  return partsOf(text)
    .map((part) => (part.label === undefined ? part.text : ` [${part.label}] `))
    .join("");
}

/** Return a new element with its properties set and its children in it. */
function make(tag, properties = {}, children = []) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Return a new element that holds a text as `show` puts it, in a direction of its own. */
function makeShown(tag, text, className = "") {
  const element = make(tag, { className, dir: "auto", lang: "" });
  show(element, text);
  return element;
}

/** Return a count with its noun: `1 tip`, `2 tips`. */
function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

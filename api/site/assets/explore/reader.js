// The text of an article with its marked passages, and beside it what is known about the one that the reader looks at.
//
// The whole text stands there at once, so that the browser's own search finds all of it. The passages of a long one are
// marked a little at a time, from the top, so that the page answers meanwhile.

import { blocksOf } from "./blocks.js";
import { cut } from "./marks.js";
import { counted, make, words } from "./page.js";
import { statementCard } from "./statement.js";
import { answered, byline, credited, NOBODY, status } from "./words.js";

/** The browser may show the page and take a key or a click after so many marks. */
const MAX_STEPS = 500;
/** A line of the text has about so many letters. */
const LINE = 60;
/** So much room in pixels stays between a passage and the card. */
const LINE_ROOM = 16;
/** The list beside the text begins with so many passages; the reader can ask for the rest. */
const MAX_LISTED = 500;

export class Reader {
  #included;
  #card = make("div.card", { id: "card", tabindex: "-1", "aria-live": "polite" });
  #marking; // what is left to mark of the text
  #marks = new Map(); // the marked elements of each record
  #first = new Map(); // the first passage of each record, in reading order
  #marked = []; // the marked elements in reading order
  #shown = [];
  #from = null; // the element that the reader looks at
  #statement = null; // and what the card says first about it

  constructor(article, marks, included) {
    this.#included = included;
    for (const mark of marks) {
      const { id } = mark.statement.record;
      if (!this.#first.has(id)) this.#first.set(id, mark);
    }
    this.text = make("div.text", { lang: article.language === "und" ? null : article.language, "aria-busy": "true" });
    this.#marking = this.#markAll(article.text ?? "", this.#write(article), cut(marks));
    this.#clear();
    this.#follow();
    this.#advance();
  }

  // --- writing the text ---

  /** Write the text block by block; give the blocks with their places. */
  #write({ text, zones }) {
    const blocks = blocksOf(text ?? "", zones).map(({ start, end, zone }) => {
      const its = text.slice(start, end);
      // A blank that ends a line has no line below it, but a row of blanks has a meaning, as in a table.
      const isSpaced = /[^\S\n]{2}|\t/.test(its);
      const block = make("p", { dir: "auto", class: [zone && `zone-${zone}`, isSpaced && "spaced"].filter(Boolean).join(" ") || null }, its);
      // The browser lays out what is on the screen, and takes so much room for each other block.
      block.style.containIntrinsicHeight = `auto ${Math.ceil((end - start) / LINE) * 1.85}em`;
      return { block, start, end };
    });
    for (const { block } of blocks) if (block.textContent.trim()) this.text.append(block);
    return blocks;
  }

  /** Mark the pieces of the text, one step at a time. */
  *#markAll(text, blocks, pieces) {
    let piece = 0;
    for (const { block, start, end } of blocks) {
      const rest = block.firstChild; // the part of the block behind the last mark
      for (let at = start; piece < pieces.length && pieces[piece].start < end; piece += 1) {
        const place = pieces[piece];
        const from = Math.max(place.start, at);
        const to = Math.min(place.end, end);
        rest.before(text.slice(at, from), this.#mark(text.slice(from, to), place, from === place.start));
        rest.deleteData(0, to - at);
        at = to;
        yield;
        if (place.end > end) break; // it goes on in the next block
      }
    }
  }

  /** Take the next steps; say whether some are left. */
  #advance() {
    for (let step = 0; step < MAX_STEPS; step += 1) {
      if (this.#marking.next().done) {
        this.text.setAttribute("aria-busy", "false");
        return false;
      }
    }
    return true;
  }

  /**
   * Mark the rest of the text once the page stands, with pauses in which the browser works. `id` is the record to whose
   * passage the address leads.
   */
  begin(id) {
    this.goTo(id);
    const next = () => this.text.isConnected && this.#advance() && setTimeout(next);
    setTimeout(next);
  }

  /** Make a marked piece of the text. The first piece of a passage can be reached with the keyboard. */
  #mark(text, { start, cover, isMore, lines }, isStart) {
    const element = make(`mark.${[cover[0].statement.type, ...lines].join(".")}`, {}, text);
    element.cover = [...new Set(cover.map(({ statement }) => statement))];
    element.start = start;
    element.isMore = isMore;
    if (isStart && cover.some((mark) => mark.start === start)) {
      element.tabIndex = 0;
      element.role = "button";
      element.setAttribute("aria-controls", "card");
    }
    for (const { record } of element.cover) {
      if (this.#marks.has(record.id)) this.#marks.get(record.id).push(element);
      else this.#marks.set(record.id, [element]);
    }
    this.#marked.push(element);
    return element;
  }

  // --- what the reader looks at ---

  /** Follow the pointer, the finger and the keyboard over the text. */
  #follow() {
    const { text } = this;
    const at = (event) => event.target.closest?.("mark");
    const show = (event) => at(event) && this.#show(at(event).cover, at(event));
    for (const name of ["mouseover", "focusin", "click"]) text.addEventListener(name, show);
    text.addEventListener("keydown", (event) => {
      if (!at(event) || !["Enter", " "].includes(event.key)) return;
      event.preventDefault();
      this.#card.focus();
    });
    for (const part of [text, this.#card]) part.addEventListener("keydown", (event) => event.key === "Escape" && this.#close());
    // A link of the card leads away: whoever comes back finds the passage again.
    this.#card.addEventListener("click", (event) => event.target.closest("a") && this.#name(this.#statement));
  }

  #show(statements, from) {
    this.#unmark();
    [this.#from, this.#statement] = [from, statements[0]];
    this.#shown = [from, ...statements.flatMap(({ record }) => this.#marks.get(record.id) ?? [])];
    for (const element of this.#shown) element.classList.add("active");
    this.#card.classList.add("open");
    this.#card.replaceChildren(
      make("h2.unseen", {}, "The passage"),
      make("button.plain.close", { type: "button", click: () => this.#close() }, "Close"),
      ...statements.map((statement) => statementCard(statement, this.#included)),
      ...(from.isMore ? [make("p.aside", {}, "More passages have these words. All of them are in the list.")] : []));
    this.#uncover(from);
  }

  /** On a phone the card lies over the text: keep the passage above it. */
  #uncover(passage) {
    const covered = passage.getBoundingClientRect().bottom - this.#card.getBoundingClientRect().top;
    if (covered > 0 && getComputedStyle(this.#card).position === "fixed") scrollBy({ top: covered + LINE_ROOM });
  }

  /** Lead the reader to the passage of a record, and show what is known about it. */
  goTo(id) {
    if (!this.#first.has(id)) return;
    const { start, statement } = this.#first.get(id);
    while (!(this.#marked.at(-1)?.start > start) && this.#advance());
    // Words that many passages have are marked for some of them alone.
    const element = this.#marks.get(id)?.[0] ?? this.#marked.findLast((each) => each.start <= start);
    element.scrollIntoView({ block: "center" });
    element.focus({ preventScroll: true });
    this.#show([statement], element);
  }

  /** Let the address name a record, so that it leads to its passage. */
  #name({ record }) {
    history.replaceState(history.state, "", `#${record.id}`);
  }

  #unmark() {
    for (const element of this.#shown) element.classList.remove("active");
    this.#shown = [];
  }

  /** Go back to the passage; the card shows it again only when the reader points at another. */
  #close() {
    this.#from?.focus();
    this.#clear();
  }

  #clear() {
    this.#unmark();
    this.#card.classList.remove("open");
    this.#card.replaceChildren(make("p.aside", {}, "Point at an underlined passage, or go from one to the next with the Tab key. This place then shows who said it, from whom, and how it was answered."));
  }

  // --- the column beside the text ---

  /** Make the column beside the text: the card, and all passages in reading order. */
  column() {
    const statements = [...this.#first.values()].map((mark) => mark.statement);
    const list = make("ol.order", {}, statements.slice(0, MAX_LISTED).map((each) => this.#entry(each)));
    const rest = statements.slice(MAX_LISTED);
    const more = make("button.plain", {
      type: "button",
      click: () => {
        list.append(...rest.map((each) => this.#entry(each)));
        more.remove();
      },
    }, `Show ${counted(rest.length, "more passage")}`);
    return make("section.column", { "aria-label": "Passages" }, this.#card,
      statements.length > 0 && [make("h2", {}, "In reading order"), list, rest.length > 0 && more]);
  }

  #entry(statement) {
    const { type, record } = statement;
    const { sources } = this.#included;
    const link = make("a", { href: `#${record.id}`, click: (event) => {
      event.preventDefault();
      this.#name(statement);
      this.goTo(record.id);
    } }, words(record.text, record.language));
    return make(`li.${type}`, {}, link, " ", status(record),
      make("p.aside", {}, type === "denial" ? credited(answered(record), record, sources) : byline(record, sources) ?? NOBODY));
  }
}

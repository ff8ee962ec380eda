// The text of an article with its marked passages, and beside it what is known about the one that the reader looks at.
//
// A long text is written in pieces: the screen that the reader sees first, and the rest behind it a little at a time,
// so that the page answers meanwhile.

import { blocksOf } from "./blocks.js";
import { cut } from "./marks.js";
import { counted, make, words } from "./page.js";
import { statementCard } from "./statement.js";
import { answered, byline, status } from "./words.js";

/** The browser may show the page and take a key or a click after so many blocks and marks. */
const MAX_STEPS = 500;
/** A line of the text has about so many letters. */
const LINE = 60;
/** The list beside the text begins with so many passages; the reader can ask for the rest. */
const MAX_LISTED = 500;

export class Reader {
  #included;
  #card = make("div.card", { id: "card", tabindex: "-1", "aria-live": "polite" });
  #writing; // what is left to write of the text
  #marks = new Map(); // the marked elements of each record
  #first = new Map(); // the first passage of each record, in reading order
  #written = []; // the marked elements in reading order
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
    this.#writing = this.#write(article, marks);
    this.#clear();
    this.#follow();
    this.#advance();
  }

  // --- writing the text ---

  /** Write the text block by block with its marks, one step at a time. */
  *#write({ text, zones }, marks) {
    const pieces = cut(marks);
    let piece = 0;
    for (const { start, end, zone } of blocksOf(text ?? "", zones)) {
      const block = make("p", { dir: "auto", class: zone && `zone-${zone}` });
      // The browser lays out what is on the screen, and takes so much room for each other block.
      block.style.containIntrinsicHeight = `auto ${Math.ceil((end - start) / LINE) * 1.85}em`;
      if (text.slice(start, end).trim()) this.text.append(block);
      let at = start;
      for (; piece < pieces.length && pieces[piece].start < end; piece += 1) {
        const place = pieces[piece];
        const from = Math.max(place.start, at);
        const to = Math.min(place.end, end);
        block.append(text.slice(at, from), this.#mark(text.slice(from, to), place, from === place.start));
        at = to;
        yield;
        if (place.end > end) break; // it goes on in the next block
      }
      block.append(text.slice(at, end));
      yield;
    }
  }

  /** Take the next steps; say whether some are left. */
  #advance() {
    for (let step = 0; step < MAX_STEPS; step += 1) {
      if (this.#writing.next().done) {
        this.text.setAttribute("aria-busy", "false");
        return false;
      }
    }
    return true;
  }

  /** Write the text as far as the reader wants to see it at once. */
  #writeUntil(isEnough) {
    while (!isEnough() && this.#advance());
  }

  /**
   * Write the rest of the text once the page stands, with pauses in which the browser works. `top` is where the reader
   * was on the page if they come back, and `id` the record to whose passage the address leads.
   */
  begin(top, id) {
    if (top > 0) {
      this.#writeUntil(() => document.documentElement.scrollHeight >= top + innerHeight);
      scrollTo({ top, behavior: "instant" });
    }
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
    this.#written.push(element);
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
  }

  /** Lead the reader to the passage of a record, and show what is known about it. */
  goTo(id) {
    if (!this.#first.has(id)) return;
    const { start, statement } = this.#first.get(id);
    this.#writeUntil(() => this.#written.at(-1)?.start > start);
    // Words that many passages have are marked for some of them alone.
    const element = this.#marks.get(id)?.[0] ?? this.#written.findLast((each) => each.start <= start);
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
    this.#card.replaceChildren(make("p.aside", {}, "Point at an underlined passage, or go from one to the next with the Tab key: it stands here who said it, from whom, and how it was answered."));
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
    const link = make("a", { href: `#${record.id}`, click: (event) => {
      event.preventDefault();
      this.#name(statement);
      this.goTo(record.id);
    } }, words(record.text, record.language));
    return make(`li.${type}`, {}, link, " ", status(record),
      make("p.aside", {}, type === "denial" ? `${answered(record)} by ` : null, byline(record, this.#included.sources)));
  }
}

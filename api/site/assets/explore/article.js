// An article: its text with claims and denials marked, and beside it the marked passages in reading order.

import { answersOf } from "./api.js";
import { blocksOf } from "./blocks.js";
import { cut, findMarks, layOut } from "./marks.js";
import { counted, joined, make, section, words } from "./page.js";
import { statementCard } from "./statement.js";
import { address, answered, byline, capital, moment, sourceLink, statementLink, status, term, time } from "./words.js";

/** The list beside the text begins with so many passages; the reader can ask for the rest. */
const MAX_LISTED = 500;

export default async function show({ api, id }) {
  const [{ record: article, included: printed, truncated }, claims] = await answersOf([
    api.one("articles", id, "sources,claims,denials"),
    // The responses to the claims, wherever they are printed.
    api.get(`/v1/claims?article_id=${encodeURIComponent(id)}&sort=position&limit=200&expand=sources,denials`),
  ]);
  const included = {
    claims: printed.claims,
    denials: { ...printed.denials, ...claims.included.denials },
    sources: { ...printed.sources, ...claims.included.sources },
  };
  const statements = [
    ...Object.values(included.claims).map((record) => ({ type: "claim", record })),
    ...Object.values(included.denials).map((record) => ({ type: "denial", record })),
  ];
  const { marks, lost, unplaced } = findMarks(article, statements);
  layOut(marks);
  const reader = new Reader(included);
  const text = article.text === null
    ? make("p.aside", {}, "The text of this article is not kept here.")
    : make("div.text", { lang: article.language === "und" ? null : article.language }, blocks(article, marks, reader));
  reader.follow(text);
  return {
    title: article.headline,
    content: [
      heading(article, included.sources),
      truncated && make("p.aside", {}, "More is printed here than one page can show: ",
        make("a", { href: `/explore/claims?article_id=${article.id}&sort=position` }, "all claims of this article"), "."),
      (claims.next_cursor || claims.truncated.length > 0) && make("p.aside", {}, "Responses are missing here: the claims have more of them than one page can show. The page of a claim has all of its responses."),
      make("div.reading", {}, make("div", {}, text, after(article, lost, unplaced, included)), reader.column(marks)),
    ],
    ready: () => reader.goTo(location.hash.slice(1)),
  };
}

function heading(article, sources) {
  const authors = article.authors.map(({ name, source_id: source }) => (source ? make("a", { href: address("source", source) }, words(name)) : words(name)));
  const facts = [
    article.publisher_id && sourceLink(article.publisher_id, sources),
    time(article.published),
    article.dateline && words(article.dateline),
    /^https?:/.test(article.url ?? "") && make("a", { href: article.url, rel: "noreferrer" }, "the original"),
  ].filter(Boolean);
  return [
    make("p.kicker", {}, capital(term(article.kind === "unspecified" ? "article" : article.kind)), article.section ? [" · ", words(article.section)] : null, " ", status(article)),
    make("h1", {}, words(article.headline, article.language)),
    make("p.aside", {}, authors.length ? ["By ", joined(authors, ", "), ". "] : null, joined(facts, ", ")),
  ];
}

// --- the text -----------------------------------------------------------------------------------

/** Write the text, block by block, with its marks. */
function blocks(article, marks, reader) {
  const { text } = article;
  const pieces = cut(marks);
  const made = [];
  let piece = 0;
  for (const { start, end, zone } of blocksOf(text, article.zones)) {
    const block = make("p", { dir: "auto", class: zone && `zone-${zone}` });
    let at = start;
    for (; piece < pieces.length && pieces[piece].start < end; piece += 1) {
      const { cover, ...place } = pieces[piece];
      const from = Math.max(place.start, at);
      const to = Math.min(place.end, end);
      block.append(text.slice(at, from), reader.mark(text.slice(from, to), cover, from === place.start && place.start));
      at = to;
      if (place.end > end) break; // it goes on in the next block
    }
    block.append(text.slice(at, end));
    if (block.textContent.trim()) made.push(block);
  }
  return made;
}

// --- what the reader points at ------------------------------------------------------------------

/** Keeps which passage the reader looks at, and shows what is known about it. */
class Reader {
  #included;
  #card = make("div.card", { id: "card", tabindex: "-1", "aria-live": "polite" });
  #marks = new Map(); // the marked elements of each record
  #shown = [];
  #from = null;

  constructor(included) {
    this.#included = included;
    this.#clear();
  }

  /** Make a marked piece of the text. The first piece of a passage can be reached with the keyboard. */
  mark(text, cover, start) {
    const lanes = cover.map(({ statement, lane }) => `${statement.type}-${lane}`);
    const element = make(`mark.${[cover[0].statement.type, ...new Set(lanes)].join(".")}`, {}, text);
    element.cover = [...new Set(cover.map(({ statement }) => statement))];
    if (cover.some((mark) => mark.start === start)) {
      element.tabIndex = 0;
      element.role = "button";
      element.setAttribute("aria-controls", "card");
    }
    for (const { record } of element.cover) {
      if (this.#marks.has(record.id)) this.#marks.get(record.id).push(element);
      else this.#marks.set(record.id, [element]);
    }
    return element;
  }

  /** Follow the pointer, the finger and the keyboard over the text. */
  follow(text) {
    const at = (event) => event.target.closest?.("mark");
    const show = (event) => at(event) && this.show(at(event).cover, at(event));
    for (const name of ["mouseover", "focusin", "click"]) text.addEventListener(name, show);
    text.addEventListener("keydown", (event) => {
      if (!at(event) || !["Enter", " "].includes(event.key)) return;
      event.preventDefault();
      this.#card.focus();
    });
    for (const part of [text, this.#card]) part.addEventListener("keydown", (event) => event.key === "Escape" && this.#close());
  }

  show(statements, from) {
    this.#unmark();
    this.#from = from;
    this.#shown = statements.flatMap(({ record }) => this.#marks.get(record.id) ?? []);
    for (const element of this.#shown) element.classList.add("active");
    this.#card.classList.add("open");
    this.#card.replaceChildren(
      make("button.plain.close", { type: "button", click: () => this.#close() }, "Close"),
      ...statements.map((statement) => statementCard(statement, this.#included)));
  }

  /** Show the passage of a record, and lead the reader there. */
  goTo(id) {
    const [element] = this.#marks.get(id) ?? [];
    if (!element) return;
    element.scrollIntoView({ block: "center" });
    element.focus({ preventScroll: true });
    this.show(element.cover.filter(({ record }) => record.id === id), element);
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

  /** Make the column beside the text: the card, and all passages in reading order. */
  column(marks) {
    const statements = [...new Set(marks.map((mark) => mark.statement))];
    const list = make("ol.order", {}, statements.slice(0, MAX_LISTED).map((each) => this.#entry(each)));
    const rest = statements.slice(MAX_LISTED);
    const more = make("button.plain", {
      type: "button",
      click: () => {
        list.append(...rest.map((each) => this.#entry(each)));
        more.remove();
      },
    }, `Show ${counted(rest.length, "more passage")}`);
    const heading = make("h2", {}, "In reading order");
    return make("aside.column", { "aria-label": "Passages" }, this.#card,
      statements.length > 0 && [heading, list, rest.length > 0 && more]);
  }

  #entry({ type, record }) {
    const link = make("a", { href: `#${record.id}`, click: (event) => {
      event.preventDefault();
      history.replaceState(history.state, "", `#${record.id}`);
      this.goTo(record.id);
    } }, words(record.text, record.language));
    return make(`li.${type}`, {}, link, " ", status(record),
      make("p.aside", {}, type === "denial" ? `${answered(record)} by ` : null, byline(record, this.#included.sources)));
  }
}

// --- below the text -----------------------------------------------------------------------------

function after(article, lost, unplaced, included) {
  const { sources, claims } = included;
  const item = ({ statement: { type, record }, appearance: { spans } }, said) => make("li", {},
    make("h3", {}, statementLink(type, record.id, record)),
    spans.length > 0 && make("p.aside", {}, said, joined(spans.map((span) => make("q", {}, words(span.exact))), " … ")));
  const lostItems = lost.map((each) => item(each, `Its words are ${LOST[each.appearance.anchor] ?? each.appearance.anchor}: `));
  const unplacedItems = unplaced.map((each) => item(each, "Its words are: "));
  const corrections = article.corrections.map((each) => make("li", {},
    make("b", {}, capital(term(each.kind))), each.published_at ? `, ${moment(each.published_at)}` : null, ": ", words(each.notice, article.language),
    each.claim_ids.map((id) => [" ", statementLink("claim", id, claims[id], "the claim")])));
  const credits = article.credits.map((each) => make("li", {}, `${capital(term(each.role))}: `, sourceLink(each.source_id, sources, each.printed)));
  const relations = article.relations.map((each) => make("li", {}, `${capital(term(each.kind))} `,
    make("a", { href: address("article", each.article_id) }, "another article")));
  return [
    section("Passages not found in the text", lostItems.length ? make("ol.records", {}, lostItems) : null),
    section("Printed here, without a place in the text", unplacedItems.length ? make("ol.records", {}, unplacedItems) : null),
    section("Corrections", corrections.length ? make("ul", {}, corrections) : null),
    section("Credits and related articles", credits.length + relations.length ? make("ul", {}, credits, relations) : null),
    make("p.aside", {}, `Version ${article.version}, last changed on ${moment(article.updated_at)}. `,
      article.version > 1 ? make("a", { href: `${address("article", article.id)}/history` }, "What was changed") : null),
  ];
}

const LOST = {
  orphaned: "no longer in the text", ambiguous: "in the text more than once", unverified: "not compared with a text",
};

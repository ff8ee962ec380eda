// The parts that show a claim or a denial wherever it stands: its chain, its figures, its responses.

import { shown } from "./marks.js";
import { make, words } from "./page.js";
import { address, answered, answerLine, hops, NOBODY, noted, size, sourceLink, status, time, whatCounts } from "./words.js";

/** Show the chain of a statement, from the reader to the origin. */
export function chain(record, sources, verb = "Claimed by") {
  const all = hops(record, sources);
  const when = time(record.stated);
  if (all.length === 0) return make("ol.chain", {}, make("li", {}, NOBODY, when ? [", ", make("span.when", {}, when)] : null));
  return make("ol.chain", {}, all.map((hop, index) =>
    make("li", {}, make("span.role", {}, index ? "Citing" : verb), hop, index === 0 && when ? [", ", make("span.when", {}, when)] : null)));
}

/** List the figures of a statement with what they count, and with the words that were printed if these say it differently. */
export function figures(record) {
  if (record.quantities.length === 0) return null;
  return make("ul.figures", {}, record.quantities.map((quantity) => {
    const { printed } = quantity;
    const large = size(quantity);
    const isSame = !printed || large.replace(/[“”]/g, "").toLowerCase() === printed.toLowerCase();
    return make("li", {}, make("span.role", {}, words(whatCounts(quantity))), make("b", {}, words(large)),
      isSame ? null : [" ", make("q", {}, words(printed, record.language))]);
  }));
}

const STANCES = { distancing: "the article keeps its distance", endorsing: "the article takes it as established" };
const ANCHORS = { orphaned: "the words are no longer in the article", ambiguous: "the words are in the article more than once" };

/** Show where a statement is printed: the article, and the words between those around them. */
export function printedIn(appearance, record, { articles, sources }) {
  const article = articles?.[appearance.article_id];
  const spans = shown(appearance.spans);
  const notes = [
    appearance.quote_type === "direct" ? "in direct speech" : null, STANCES[appearance.stance], ANCHORS[appearance.anchor],
    appearance.translated ? "translated" : null,
  ].filter(Boolean);
  const place = `${address("article", appearance.article_id)}#${record.id}`;
  return make("figure.printed", {},
    spans.length > 0 && make("blockquote", { lang: article && article.language !== "und" ? article.language : null, dir: "auto" },
      spans.map((span, index) => [
        index ? " … " : beginning(span.prefix), make("mark", {}, span.exact), index === spans.length - 1 ? ending(span.suffix) : null])),
    make("figcaption", {}, make("a", { href: place }, article ? words(article.headline, article.language) : "an article that is not shown"), noted(article),
      article?.publisher_id ? [", ", sourceLink(article.publisher_id, sources)] : null,
      article && time(article.published) ? [", ", time(article.published)] : null,
      notes.length ? `. ${notes.join("; ")}` : null));
}

// The context of a span may begin or end within a word, or in another paragraph.
const CONTEXT = 32;

function beginning(prefix) {
  const line = prefix.split("\n").at(-1);
  return [...line].length < CONTEXT ? line : `… ${line.slice(line.indexOf(" ") + 1)}`;
}

function ending(suffix) {
  const [line] = suffix.split("\n");
  return [...line].length < CONTEXT ? line : `${line.slice(0, Math.max(line.lastIndexOf(" "), 0))} …`;
}

/** Show a statement in short: what is said, by whom, from whom, how much, and how it was answered. */
export function statementCard({ type, record }, { sources, denials }) {
  const answers = Object.values(denials ?? {}).filter((denial) =>
    denial.targets.some((target) => target[`${type}_id`] === record.id));
  return make(`section.${type}`, {},
    make("p.kicker", {}, type === "denial" ? answered(record) : "Claim", " ", status(record)),
    make("h3", {}, make("a", { href: address(type, record.id) }, words(record.text, record.language))),
    chain(record, sources, type === "denial" ? "Said by" : "Claimed by"),
    figures(record),
    answers.slice(0, 5).map((denial) => answerLine(denial, sources)));
}

// An article: its text with claims and denials marked, and beside it the marked passages in reading order.

import { answersOf } from "./api.js";
import { findMarks, layOut } from "./marks.js";
import { counted, joined, make, section, words } from "./page.js";
import { Reader } from "./reader.js";
import { address, capital, moment, sourceLink, statementLink, status, term, time } from "./words.js";

export default async function show({ api, id }) {
  const [{ record: article, included: printed, truncated: isCut }, claims] = await answersOf([
    api.one("articles", id, "sources,denials"),
    // The claims with the responses to them, wherever these are printed.
    api.get(`/v1/claims?article_id=${encodeURIComponent(id)}&sort=position&limit=200&expand=sources,denials`),
  ]);
  // An article with more claims than a page of a list has brings all of them itself, without the responses.
  const more = claims.next_cursor ? await api.one("articles", id, "sources,claims") : null;
  const truncated = isCut || more?.truncated;
  const included = {
    claims: more?.included.claims ?? Object.fromEntries(claims.items.map((claim) => [claim.id, claim])),
    denials: { ...printed.denials, ...claims.included.denials },
    sources: { ...printed.sources, ...claims.included.sources, ...more?.included.sources },
  };
  const statements = [
    ...Object.values(included.claims).map((record) => ({ type: "claim", record })),
    ...Object.values(included.denials).map((record) => ({ type: "denial", record })),
  ];
  const { marks, lost, unplaced } = findMarks(article, statements);
  layOut(marks);
  const reader = new Reader(article, marks, included);
  const text = article.text === null ? make("p.aside", {}, "The text of this article is not kept here.") : reader.text;
  return {
    title: article.headline,
    content: [
      heading(article, included.sources),
      legend(marks),
      truncated && make("p.aside", {}, "More is printed here than one page can show: ",
        make("a", { href: `/explore/claims?article_id=${article.id}&sort=position` }, "all claims of this article"), "."),
      (claims.next_cursor || claims.truncated.length > 0) && make("p.aside", {}, "Some responses may be missing here: the claims have more of them than one page can show. The page of a claim has all of its responses."),
      make("div.reading", {}, make("div", {}, text, after(article, lost, unplaced, included)), reader.column()),
    ],
    ready: () => reader.begin(location.hash.slice(1)),
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
    make("p.aside.byline", {}, joined([authors.length > 0 && ["By ", joined(authors, ", ")], ...facts].filter(Boolean), " · ")),
  ];
}

/** Say how many claims and responses are marked, in the lines that mark them. */
function legend(marks) {
  const sorts = [["claim", "claim"], ["denial", "response"]].map(([type, noun]) => {
    const count = new Set(marks.map(({ statement }) => statement).filter((each) => each.type === type)).size;
    return count > 0 && make(`mark.${type}.${type}-0`, {}, counted(count, noun));
  }).filter(Boolean);
  return sorts.length > 0 && make("p.aside.legend", {}, "Marked in the text: ", joined(sorts, " and "), ".");
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
    make("p.aside.colophon", {}, `Version ${article.version}, last changed on ${moment(article.updated_at)}. `,
      article.version > 1 ? make("a", { href: `${address("article", article.id)}/history` }, "What was changed") : null),
  ];
}

const LOST = {
  orphaned: "no longer in the text", ambiguous: "in the text more than once", unverified: "not compared with a text",
};

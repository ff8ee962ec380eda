// A claim, or a response to one: who said it, from whom, where it is printed, and how it was answered.

import { answersOf } from "./api.js";
import { originGraph } from "./origins.js";
import { joined, make, section, words } from "./page.js";
import { chain, figures, printedIn } from "./statement.js";
import { address, answered, byline, capital, moment, NOBODY, sourceLink, statementLink, status, term, time } from "./words.js";

export default async function show({ api, type, id }) {
  const isClaim = type === "claims";
  const [{ record, included }, thread, origins] = await answersOf([
    api.one(type, id, `sources,articles,claims,denials${isClaim ? ",relating_claims" : ""}`),
    api.get(`/v1/${type}/${encodeURIComponent(id)}/responses?expand=denials,sources`),
    isClaim ? api.get(`/v1/claims/${encodeURIComponent(id)}/origins`) : null,
  ]);
  const { sources, claims } = included;
  return {
    title: record.text,
    content: [
      make("p.kicker", {}, isClaim ? "Claim" : answered(record), record.kind ? ` · ${capital(term(record.kind))}` : null, " ", status(record)),
      make("h1", {}, words(record.text, record.language)),
      make("div.columns", {},
        make("div", {},
          chain(record, sources, isClaim ? "Claimed by" : "Said by"),
          isClaim ? null : becameOf(record, included.denials),
          section("Figures", figures(record)),
          isClaim ? null : section("What it answers", targets(record, included)),
          section("Where it is printed", record.appearances.map((each) => printedIn(each, record, included))),
          section("Responses", responses(thread, record.id)),
          section("Related claims", relations(record, claims), relatedFrom(record, included))),
        make("div", {},
          origins && section("Independent origins", originGraph(origins, record, { sources, claims: { ...included.relating_claims, ...claims } })),
          section("About it", facts(record, sources)))),
      make("p.aside.colophon", {}, `Version ${record.version}, last changed on ${moment(record.updated_at)}. `,
        make("a", { href: `/explore/${type}/${encodeURIComponent(record.id)}/history` }, "History")),
    ],
  };
}

// --- how it was answered ------------------------------------------------------------------------

/** Show the thread: a response to a response stands below it and further in, the oldest first. */
function responses({ thread, responders, asked_without_answer: silent, included, truncated }, root) {
  const replaced = new Map(Object.values(included.denials).map((denial) => [denial.superseded_by_id, denial]));
  const latest = new Set(responders.filter(({ history }) => history.length > 1).map((each) => each.latest));
  const items = [
    ...belowEachOther(thread, root).map(({ denial_id: id, depth, others }) => ({ denial: included.denials[id], depth, others, isLatest: latest.has(id) })),
    ...silent.map((id) => ({ denial: included.denials[id], depth: 1, others: [] })),
  ].filter(({ denial }) => denial);
  if (items.length === 0) return make("p.aside", {}, "None is recorded.");
  return [
    make("ol.thread", {}, items.map((item) => response({ ...item, before: replaced.get(item.denial.id) }, included, root))),
    truncated.length > 0 && make("p.aside", {}, "The thread is longer than one page can show."),
  ];
}

/** Put each response behind the one that it answers; `others` are what it answers besides. */
export function belowEachOther(thread, root) {
  const depths = new Map([[root, 0], ...thread.map(({ denial_id: id, depth }) => [id, depth])]);
  const answers = new Map();
  for (const entry of thread) {
    const above = entry.answers.find((id) => depths.get(id) === entry.depth - 1) ?? root;
    const others = entry.answers.filter((id) => id !== above);
    answers.set(above, [...(answers.get(above) ?? []), { ...entry, others }]);
  }
  const from = (id) => (answers.get(id) ?? []).flatMap((entry) => [entry, ...from(entry.denial_id)]);
  return from(root);
}

function response({ denial, depth, others, isLatest, before }, { sources, denials }, root) {
  const said = [byline(denial, sources) ?? NOBODY, time(denial.stated)].filter(Boolean);
  return make(`li.${denial.family}.depth-${Math.min(depth, 6)}${denial.validity === "standing" ? "" : ".left"}`, {},
    make("p.kicker", {}, answered(denial), ` · ${capital(term(denial.kind))} `, status(denial), isLatest ? make("span.status", {}, "latest word") : null),
    make("p", {}, make("a", { href: address("denial", denial.id) }, words(denial.text, denial.language))),
    make("p.aside", {}, joined(said, ", ")),
    others.length > 0 && make("p.aside", {}, "It also answers ", joined(others.slice(0, 3).map((id) =>
      (id === root ? "what this page shows" : statementLink("denial", id, denials[id], "another response"))), ", "), others.length > 3 ? ` and ${others.length - 3} more` : null, "."),
    becameOf(denial, denials),
    before && make("p.aside", {}, REPLACES[before.validity] ?? REPLACES.superseded, ": ", statementLink("denial", before.id, before)));
}

const LEFT = {
  superseded: "Replaced by a later response", retracted: "Taken back by the responder",
  softened: "Softened: replaced by a weaker response", hardened: "Hardened: replaced by a stronger response",
};
const REPLACES = {
  superseded: "It replaces an earlier response", retracted: "It replaces a response that was taken back",
  softened: "It is weaker than the response that it replaces", hardened: "It is stronger than the response that it replaces",
};

/** Say what became of a response: whether it was taken back, hardened, softened or replaced, and by what. */
function becameOf({ validity, superseded_by_id: later }, denials) {
  if (validity === "standing" && !later) return null;
  return make("p.aside", {}, LEFT[validity] ?? LEFT.superseded,
    later && [": ", denials?.[later] ? statementLink("denial", later, denials[later]) : make("a", { href: address("denial", later) }, "the later response")], ".");
}

/** Say what a response answers: a claim, another response, an article, or something that is only described. */
function targets(denial, { claims, denials, articles }) {
  return make("ul.records", {}, denial.targets.map((target) => {
    const { claim_id: claim, denial_id: answer, article_id: article } = target;
    return make("li", {},
      claim ? statementLink("claim", claim, claims[claim], "a claim")
        : answer ? statementLink("denial", answer, denials[answer], "another response")
          : article ? make("a", { href: address("article", article) }, articles[article] ? words(articles[article].headline, articles[article].language) : "an article")
            : words(target.text),
      target.coverage === "explicit" ? null : make("span.aside", {}, ` (${term(target.coverage)})`),
      target.aspect ? make("p.aside", {}, "As to ", words(target.aspect)) : null);
  }));
}

// --- what else is known -------------------------------------------------------------------------

/** List the claims that this one names, and say how it relates to them. */
function relations(record, claims = {}) {
  const parent = record.parent_claim_id ? [{ claim_id: record.parent_claim_id, kind: "part_of", state: "confirmed" }] : [];
  const items = [...parent, ...standing(record)].map((relation) => relationItem(
    capital(term(relation.kind)), relation, statementLink("claim", relation.claim_id, claims[relation.claim_id], "another claim")));
  return items.length ? make("ul.records", {}, items) : null;
}

/** List the claims that name this one, each relation once. */
function relatedFrom(record, { relating_claims: relating = {} }) {
  const own = new Set(standing(record).map(({ claim_id: id, kind }) => `${kind} ${id}`));
  const items = Object.values(relating).filter((claim) => claim.id !== record.id).flatMap((claim) => [
    ...(claim.parent_claim_id === record.id ? [{ kind: "part_of" }] : []),
    ...standing(claim).filter(({ claim_id: id, kind }) => id === record.id && !own.has(`${kind} ${claim.id}`)),
  ].map((relation) => relationItem(`${capital(term(relation.kind))} this claim`, relation, statementLink("claim", claim.id, claim))));
  return [
    items.length > 0 && make("p.aside", {}, "Claims that name this one:"),
    items.length > 0 && make("ul.records", {}, items.slice(0, MAX_RELATING)),
    items.length > MAX_RELATING && make("p.aside", {}, make("a", { href: `/explore/claims?related_to=${encodeURIComponent(record.id)}` }, "All claims related to this one, from either side")),
  ];
}

/** So many of the claims that relate to this one are listed; a link leads to all of them. */
const MAX_RELATING = 50;

const standing = (claim) => (claim.relations ?? []).filter(({ state }) => state !== "rejected");

function relationItem(said, { state = "confirmed", basis, note }, link) {
  return make("li", {},
    make("span.role", {}, said, state === "confirmed" ? null : ` (${term(state)})`, basis === "computed" ? " (computed)" : null), link,
    note ? make("p.aside", {}, words(note)) : null);
}

function facts(record, sources) {
  const extraction = record.extraction;
  const known = [
    ["Happened", time(record.occurred)],
    ["Parties", record.parties?.length ? joined(record.parties.map((each) => [sourceLink(each.source_id, sources, each.printed), ` (${term(each.role)})`]), ", ") : null],
    ["Places", record.places?.length ? joined(record.places.map((each) => [words(each.name), ` (${term(each.role)})`]), ", ") : null],
    ["Spoken as", record.speech_act && term(record.speech_act)],
    ["Certainty", record.certainty && record.certainty !== "unspecified" ? `${term(record.certainty)}, says the claimant` : null],
    ["Silent in", record.scope_source_id && sourceLink(record.scope_source_id, sources)],
    ["Assessed", record.assessments?.length ? joined(record.assessments.map((each) => [
      words(each.assessor), ": ", make("b", {}, words(each.label)), each.explanation ? [". ", words(each.explanation)] : null,
      /^https?:/.test(each.url ?? "") ? [" ", make("a", { href: each.url, rel: "noreferrer" }, "more")] : null]), "; ") : null],
    ["Tags", record.tags.length ? joined(record.tags.map((tag) => words(tag)), ", ") : null],
    ["Note", record.note && words(record.note)],
    ["Recorded", extraction && [term(extraction.method), extraction.agent ? [", ", words(extraction.agent)] : null]],
  ].filter(([, value]) => value);
  return known.length ? make("dl.facts", {}, known.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])) : null;
}

// A claim, or a response to one: who said it, from whom, where it is printed, and how it was answered.

import { answersOf } from "./api.js";
import { originGraph } from "./origins.js";
import { joined, make, section, words } from "./page.js";
import { chain, figures, printedIn } from "./statement.js";
import { address, answered, byline, capital, moment, sourceLink, statementLink, status, term, time } from "./words.js";

export default async function show({ api, type, id }) {
  const isClaim = type === "claims";
  const [{ record, included }, thread, origins] = await answersOf([
    api.one(type, id, isClaim ? "sources,articles,claims,denials" : "sources,articles,claims"),
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
          section("Figures", figures(record)),
          isClaim ? null : section("What it answers", targets(record, included)),
          section("Where it is printed", record.appearances.map((each) => printedIn(each, record, included))),
          section("Responses", responses(thread, record.id))),
        make("div", {},
          origins && section("Independent origins", originGraph(origins, record, included)),
          section("Related claims", relations(record, claims)),
          section("About it", facts(record, sources)))),
      make("p.aside", {}, `Version ${record.version}, last changed on ${moment(record.updated_at)}. `,
        make("a", { href: `/explore/${type}/${encodeURIComponent(record.id)}/history` }, "History")),
    ],
  };
}

// --- how it was answered ------------------------------------------------------------------------

/** Show the thread: a response to a response stands below it and further in, the oldest first. */
function responses({ thread, responders, asked_without_answer: silent, included, truncated }, root) {
  const latest = new Set(responders.filter(({ history }) => history.length > 1).map((each) => each.latest));
  const items = [
    ...belowEachOther(thread, root).map(({ denial_id: id, depth, others }) => ({ denial: included.denials[id], depth, others, isLatest: latest.has(id) })),
    ...silent.map((id) => ({ denial: included.denials[id], depth: 1, others: [] })),
  ].filter(({ denial }) => denial);
  if (items.length === 0) return make("p.aside", {}, "None is recorded.");
  return [
    make("ol.thread", {}, items.map((item) => response(item, included, root))),
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

function response({ denial, depth, others, isLatest }, { sources, denials }, root) {
  const said = [byline(denial, sources), time(denial.stated)].filter(Boolean);
  return make(`li.${denial.family}.depth-${Math.min(depth, 6)}`, {},
    make("p.kicker", {}, answered(denial), ` · ${capital(term(denial.kind))} `, status(denial), isLatest ? make("span.status", {}, "latest word") : null),
    make("p", {}, make("a", { href: address("denial", denial.id) }, words(denial.text, denial.language))),
    others.length > 0 && make("p.aside", {}, "It also answers ", joined(others.slice(0, 3).map((id) =>
      (id === root ? "what this page shows" : statementLink("denial", id, denials[id], "another response"))), ", "), others.length > 3 ? ` and ${others.length - 3} more` : null, "."),
    make("p.aside", {}, joined(said, ", "),
      denial.superseded_by_id && [". ", make("a", { href: address("denial", denial.superseded_by_id) }, "Replaced by a later response")]));
}

/** Say what a response answers. */
function targets(denial, { claims }) {
  return make("ul.records", {}, denial.targets.map((target) => {
    const [kind, id] = ["claim", "denial", "article"].map((each) => [each, target[`${each}_id`]]).find(([, each]) => each) ?? [];
    const claim = kind === "claim" ? claims[id] : null;
    return make("li", {},
      id ? make("a", { href: address(kind, id) }, claim ? words(claim.text, claim.language) : `${kind === "article" ? "an" : "a"} ${kind === "denial" ? "response" : kind}`) : words(target.text), claim && [" ", status(claim)],
      target.coverage === "explicit" ? null : make("span.aside", {}, ` (${term(target.coverage)})`),
      target.aspect ? make("p.aside", {}, "As to ", words(target.aspect)) : null);
  }));
}

// --- what else is known -------------------------------------------------------------------------

function relations(record, claims = {}) {
  const list = [
    ...(record.parent_claim_id ? [{ claim_id: record.parent_claim_id, kind: "part_of", state: "confirmed" }] : []),
    ...(record.relations ?? []),
  ];
  const items = list.map(({ claim_id: id, kind, state, basis, note }) => make("li", {},
    make("span.role", {}, capital(term(kind)), state === "confirmed" ? null : ` (${term(state)})`, basis === "computed" ? " (computed)" : null),
    statementLink("claim", id, claims[id], "another claim"),
    note ? make("p.aside", {}, words(note)) : null));
  return [
    items.length ? make("ul.records", {}, items) : null,
    record.targets ? null : make("p.aside", {}, make("a", { href: `/explore/claims?related_to=${encodeURIComponent(record.id)}` }, "All claims related to this one, from either side")),
  ];
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

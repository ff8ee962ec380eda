// A source: its names and offices, what it claimed and answered in time, who answers it, and the groups it belongs to.

import { answersOf } from "./api.js";
import { counted, joined, make, section, words } from "./page.js";
import { address, answered, answerLine, capital, credited, hops, moment, nameOf, sourceLink, statementLink, status, term, time } from "./words.js";

const MOST = 50;

export default async function show({ api, id }) {
  const of = `source_id=${encodeURIComponent(id)}&sort=-stated&limit=${MOST}`;
  const [{ record: source, included, truncated }, claims, denials] = await answersOf([
    api.one("sources", id, "sources,groups"),
    api.get(`/v1/claims?${of}&expand=sources,denials`),
    api.get(`/v1/denials?${of}&expand=sources,claims`),
  ]);
  const name = source.name ?? source.description ?? "A source without a name";
  const country = source.country_code && countryOf(source.country_code);
  const sources = { ...claims.included.sources, ...denials.included.sources, ...included.sources, ...included.groups, [source.id]: source };
  const told = { id: source.id, sources, groups: included.groups, isCut: truncated, claims: denials.included.claims, answers: answersTo(claims), isPart: Boolean(claims.next_cursor) || claims.truncated.length > 0 };
  return {
    title: name,
    content: [
      make("p.kicker", {}, [capital(term(source.kind)), country !== name && country].filter(Boolean).join(", ")),
      make("h1", {}, words(name), " ", status(source)),
      source.name && source.description ? make("p.standfirst", {}, words(source.description)) : null,
      source.url && make("p.aside", {}, make("a", { href: source.url, rel: "noreferrer" }, "Its own page")),
      source.id !== id && make("p.aside", {}, "The address that led here is that of a source which was merged into this one."),
      source.merged_into_id && make("p", {}, "It was merged into ", sourceLink(source.merged_into_id, sources), "."),
      make("div.columns.source", {},
        make("div.beside", {}, names(source), offices(source, sources), groupsOf(source, told), whoAnswers(told)),
        make("div", {}, timeLine(claims, denials, told))),
      make("p.aside.colophon", {}, `Version ${source.version}, last changed on ${moment(source.updated_at)}. `,
        make("a", { href: `${address("source", source.id)}/history` }, "History")),
    ],
  };
}

// --- who it is ----------------------------------------------------------------------------------

function names({ names: others }) {
  return section("Names",
    others.length > 0 && make("ul.plain", {}, others.map(({ name, kind, language }) =>
      make("li", {}, words(name, language), make("span.role", {}, capital(joined([term(kind), language === "und" ? null : languageOf(language)].filter(Boolean), ", ").join("")))))));
}

function offices({ roles }, sources) {
  return section("Offices", roles.length > 0 && make("ul.plain", {}, roles.map((role) =>
    make("li", {}, words(capital(role.title)),
      role.organisation_id ? [", ", sourceLink(role.organisation_id, sources)] : role.country_code ? `, ${countryOf(role.country_code)}` : null,
      make("span.role", {}, held(role))))));
}

function held({ from, until }) {
  if (from && until) return `${date(from)} to ${date(until)}`;
  return from ? `Since ${date(from)}` : until ? `Until ${date(until)}` : "It is not recorded when";
}

const MONTH = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });

/** Write a year, a month or a day. */
const date = (text) => (text.length === 4 ? text : text.length === 7 ? MONTH.format(new Date(`${text}-01`)) : moment(text));

const countryOf = (code) => nameByCode("region", code);
const languageOf = (code) => nameByCode("language", code);

function nameByCode(type, code) {
  try {
    return new Intl.DisplayNames("en", { type }).of(code);
  } catch { // no code of the standard
    return code;
  }
}

function groupsOf(source, { sources, groups, isCut }) {
  const line = (label, content) => (content.length ? [make("dt", {}, label), make("dd", {}, content)] : null);
  const listed = (ids) => linked(ids, sources);
  const size = source.group_size;
  const sizes = size ? [...new Set([size.lower, size.upper].filter((number) => number !== null))].map((number) => number.toLocaleString("en")) : [];
  const lines = [
    line("Part of", source.parent_id ? [sourceLink(source.parent_id, sources)] : []),
    line("Belongs to", [...listed(Object.keys(groups)), isCut && make("div", {}, make("a", { href: `/explore/sources?member_id=${source.id}` }, "All its groups, page by page"))].filter(Boolean)),
    line("Members", listed([...new Set(source.members.map((member) => member.source_id))])),
    line("How many", sizes.length ? [sizes.join(" to ")] : []),
    source.relations.filter((relation) => relation.state !== "rejected").slice(0, MOST).map((relation) =>
      line(capital(term(relation.kind)), [sourceLink(relation.source_id, sources), relation.state === "suggested" ? " (suggested)" : ""])),
  ].flat(9).filter(Boolean);
  return section("Groups and relations", lines.length > 0 && make("dl.facts", {}, lines));
}

/** Link to sources in the order of their names; of many, the last when the reader asks for them. */
function linked(ids, sources) {
  const links = ids.toSorted((one, two) => nameOf(one, sources).localeCompare(nameOf(two, sources), "en", { numeric: true })).map((id) => sourceLink(id, sources));
  const rest = links.slice(MOST);
  return [...joined(links.slice(0, MOST), ", "), ...(rest.length ? [make("details", {}, make("summary", {}, `${rest.length.toLocaleString("en")} more`), joined(rest, ", "))] : [])];
}

// --- who answers it -----------------------------------------------------------------------------

/** The responses to the claims of a page, by the id of the claim. */
function answersTo(claims) {
  const answers = new Map();
  for (const denial of Object.values(claims.included.denials)) {
    for (const { claim_id: claim } of denial.targets) answers.set(claim, [...(answers.get(claim) ?? []), denial]);
  }
  return answers;
}

function whoAnswers({ id, sources, answers, isPart }) {
  const families = new Map(); // of each responder, how often each family
  for (const denial of new Set([...answers.values()].flat())) {
    const responders = new Set(denial.attributions.filter((each) => each.position === 0 && each.source_id).map((each) => each.source_id));
    for (const responder of responders) {
      const counts = families.get(responder) ?? new Map();
      families.set(responder, counts.set(answered(denial), (counts.get(answered(denial)) ?? 0) + 1));
    }
  }
  const total = (counts) => [...counts.values()].reduce((sum, count) => sum + count, 0);
  const rows = [...families].sort(([, one], [, two]) => total(two) - total(one)).slice(0, MOST);
  return section("Who answers it", rows.length > 0 && make("ul.plain", {}, rows.map(([responder, counts]) =>
    make("li", {}, responder === id ? "The source itself" : sourceLink(responder, sources),
      make("span.role", {}, [...counts].map(([family, count]) => `${family}${count > 1 ? ` ${count} times` : ""}`).join(", "))))),
    rows.length > 0 && make("p.aside", {}, "Only responses to the claims of this page are counted, and only those that still stand.",
      isPart ? " More claims, or more responses, are recorded than this page has." : null));
}

// --- the time line ------------------------------------------------------------------------------

function timeLine(claims, denials, told) {
  const entries = [
    ...claims.items.map((record) => ({ type: "claim", record })),
    ...denials.items.map((record) => ({ type: "denial", record })),
  ];
  const known = entries.filter(({ record }) => startOf(record)).sort((one, two) => (startOf(one.record) < startOf(two.record) ? 1 : -1));
  const unknown = entries.filter(({ record }) => !startOf(record));
  const years = new Map();
  for (const entry of known) years.set(startOf(entry.record).slice(0, 7), [...(years.get(startOf(entry.record).slice(0, 7)) ?? []), entry]);
  const more = (type, page) => page.next_cursor && make("p", {}, make("a.more", { href: `/explore/${type}?source_id=${told.id}&sort=-stated` }, `All its ${type}`));
  const shown = `${counted(claims.items.length, "claim")} and ${counted(denials.items.length, "response")}`;
  return section("What it claimed and answered",
    make("p.aside", {}, entries.length ? `${claims.next_cursor || denials.next_cursor ? "The latest " : ""}${shown}, the latest first; also those in which others cite it, or in which it is one of a group.` : "Nothing is recorded that you may see."),
    [...years].map(([month, list]) => part(date(month), list, told)),
    unknown.length > 0 && part("Time not known", unknown, told),
    more("claims", claims), more("denials", denials));
}

const startOf = (record) => record.stated?.earliest ?? record.stated?.latest ?? null;

function part(heading, entries, told) {
  return [make("h3.month", {}, heading), make("ol.times", {}, entries.map((entry) => entryOf(entry, told)))];
}

function entryOf({ type, record }, told) {
  const when = time(record.stated);
  const asked = (record.targets ?? []).map(({ claim_id: claim }) => claim).filter((claim) => told.claims[claim]).slice(0, 3);
  return make(`li.${type}`, {},
    make("p.role", {}, when ? [when, ". "] : null, partIn(type, record, told)),
    make("h4", {}, make("a", { href: address(type, record.id) }, words(record.text, record.language)), " ", status(record)),
    type === "denial"
      ? asked.length > 0 && make("p.aside", {}, "In answer to: ", joined(asked.map((claim) => statementLink("claim", claim, told.claims[claim])), "; "))
      : (told.answers.get(record.id) ?? []).slice(0, 3).map((denial) => answerLine(denial, told.sources)));
}

/** Say what part the source has in a statement. */
function partIn(type, record, { id, sources, groups }) {
  const verb = type === "claim" ? "Claimed" : answered(record);
  const own = record.attributions.filter((each) => each.source_id === id);
  if (own.some((each) => each.position === 0)) {
    const cited = hops(record, sources).slice(1);
    return cited.length ? [verb, ", citing ", joined(cited, ", citing ")] : verb;
  }
  if (own.length) return credited(verb, record, sources);
  if (record.attributions.some((each) => each.via_id === id)) return credited(`${verb} here,`, record, sources);
  const group = record.attributions.find((each) => groups[each.source_id]);
  return group ? [verb, " as one of ", sourceLink(group.source_id, sources)] : credited(verb, record, sources);
}

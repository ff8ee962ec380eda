// Say in words what records hold: who is credited, how large, when, and how it was answered.

import { offsets } from "./marks.js";
import { joined, make, words } from "./page.js";

const PLURALS = { article: "articles", claim: "claims", denial: "denials", source: "sources" };

export const address = (type, id) => `/explore/${PLURALS[type] ?? type}/${encodeURIComponent(id)}`;

/** Write a term of a vocabulary as words: `killed_or_wounded` as "killed or wounded". */
export const term = (name) => (name ?? "").replaceAll("_", " ");

export const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

// --- sources ------------------------------------------------------------------------------------

/** Name a source: by its name, else by its description, else by the words that were printed for it. */
export function nameOf(id, sources, printed = null) {
  const source = sources?.[id];
  return source?.name ?? source?.description ?? printed ?? "a source that is not shown";
}

export function sourceLink(id, sources, printed = null) {
  return make("a", { href: address("source", id) }, words(nameOf(id, sources, printed)));
}

/** Write one attribution: its source, how sure it is, and its vehicle if wanted; null if it credits nobody. */
function credit(attribution, sources, hasVia) {
  const { source_id: id, via_id: via, printed, resolution, role } = attribution;
  if (!id && role !== "author_voice" && !printed && !via) return null;
  return [
    id ? sourceLink(id, sources, printed) : role === "author_voice" ? "the article itself" : words(printed ?? "nobody named"),
    id && resolution !== "certain" ? ` (${term(resolution)})` : null,
    via && (hasVia || !(id || printed)) ? [", via ", sourceLink(via, sources)] : null,
  ];
}

/** List the hops from the reader to the origin, each as content; sources at one position are joined. */
export function hops(record, sources, hasVia = true) {
  const byPosition = new Map();
  for (const attribution of record.attributions.toSorted((a, b) => a.position - b.position)) {
    const content = credit(attribution, sources, hasVia);
    if (content) byPosition.set(attribution.position, [...(byPosition.get(attribution.position) ?? []), content]);
  }
  return [...byPosition.values()].map((credits) => joined(credits, " and "));
}

/** Write the chain of a record: "Lee, citing the Intelligence Service, via a briefing"; null if nobody is credited. */
export function byline(record, sources, hasVia = true) {
  const chain = hops(record, sources, hasVia);
  return chain.length ? joined(chain, ", citing ") : null;
}

/** Say who is credited: "Denied by the ministry", or that nobody is. */
export function credited(verb, record, sources) {
  const by = byline(record, sources);
  return by ? [verb, " by ", by] : verb === "Claimed" ? NOBODY : `${verb}, with nobody credited`;
}

export const NOBODY = "Nobody is credited";

// --- figures ------------------------------------------------------------------------------------

const HEDGES = {
  exact: "", at_least: "at least ", more_than: "more than ", at_most: "at most ", fewer_than: "fewer than ",
  approximately: "about ", approaching: "approaching ",
};

const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 15 });

/** Write the size of a figure as it was hedged: "at least 1,100", "between 10,000 and 12,000", "“several hundreds”". */
export function size({ qualifier, value, lower, upper, term: vague, printed }) {
  if (qualifier === "vague") return `“${vague ?? printed}”`;
  if (qualifier === "between") {
    return `between ${number(lower)} and ${number(upper)}${value === null || value === undefined ? "" : `, at best ${number(value)}`}`;
  }
  const only = value ?? lower ?? upper;
  return (HEDGES[qualifier] ?? `${term(qualifier)} `) + (only === null || only === undefined ? printed : number(only));
}

/** Say what a figure counts: "Killed, North Korean soldiers". */
export function whatCounts({ metric, unit, population }) {
  const counted = population ?? (unit && !["person", metric].includes(unit) ? term(unit) : null);
  return capital([metric && term(metric), counted].filter(Boolean).join(", "));
}

// --- times --------------------------------------------------------------------------------------

const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeZone: "UTC" });
const INSTANT = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeStyle: "short", timeZone: "UTC" });

/** Write a date or an instant; what is neither stays as it is. */
export const moment = (text) => formatted(text.length > 10 ? INSTANT : DAY, text) + (text.length > 10 ? " UTC" : "");

function formatted(format, text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : format.format(date); // a leap second is no date in JavaScript
}

const SHORT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });

/** Write a time in few words, as a list has room for: "19 Dec 2024", "16–18 Dec 2024"; null if no day is known. */
export function day(known) {
  const [from, until] = [known?.earliest, known?.latest].map((bound) => bound && new Date(bound.slice(0, 10)));
  if (from && until) return SHORT.formatRange(from, until);
  return from ? `from ${SHORT.format(from)}` : until ? `until ${SHORT.format(until)}` : null;
}

const dayOf = (known) => day(known) && make("p.when", {}, day(known));

/** Write a time: the bounds, and the words that were printed for it; null if nothing is known. */
export function time(known) {
  if (!known) return null;
  const { expression, earliest, latest } = known;
  const bounds = earliest && latest && earliest !== latest ? `${moment(earliest)} to ${moment(latest)}`
    : earliest && latest ? moment(earliest) : earliest ? `from ${moment(earliest)}` : latest ? `until ${moment(latest)}` : null;
  // "24 December 2024" says no more than the date does.
  const printed = expression && expression !== earliest && !(earliest && latest && expression.includes(formatted(DAY, earliest))) ? words(`“${expression}”`) : null;
  if (bounds && printed) return [bounds, " (", printed, ")"];
  return bounds ?? printed;
}

// --- responses and states -----------------------------------------------------------------------

const FAMILIES = {
  denies: "Denied", deflects: "Deflected", declines: "Left open", silent: "Not answered", concedes: "Conceded",
  supports: "Supported", unspecified: "Answered",
};

/** Say how a response answers: "Denied", "Left open". */
export const answered = (denial) => FAMILIES[denial.family] ?? "Answered";

/** Name what makes the public not see a record, or makes it no longer stand. */
export function states(record) {
  return [
    record.review_status && record.review_status !== "published" ? record.review_status : null,
    record.status && record.status !== "usable" ? record.status : null,
    record.confidentiality && record.confidentiality !== "public" ? record.confidentiality : null,
    record.validity && record.validity !== "standing" ? record.validity : null,
    record.embargoed_until && new Date(record.embargoed_until) > new Date() ? `under embargo until ${moment(record.embargoed_until)}` : null,
  ].filter(Boolean).map(term);
}

/** Mark what the public does not see, or no longer stands; null if there is nothing to mark, or nothing is known. */
export function status(record) {
  const marks = record ? states(record) : [];
  return marks.length ? joined(marks.map((mark) => make("span.status", {}, mark)), " ") : null;
}

/** Put the same marks behind words that a comma or a full stop may follow. */
export function noted(record) {
  const marks = status(record);
  return marks && [" ", marks];
}

/** Link to a claim or a denial by its words, with its marks; `otherwise` stands in their place if it is not at hand. */
export function statementLink(type, id, record, otherwise) {
  return [make("a", { href: address(type, id) }, record ? words(record.text, record.language) : otherwise), noted(record)];
}

// --- records in a list --------------------------------------------------------------------------

// `heading` is the level of their headings: "h3" in a section of a page, and "h2" where nothing but the title of the
// page stands above the list.

/** Show an article as a headline with its day, its publisher, and how its text begins. */
export function articleItem(article, sources, heading = "h3") {
  const opening = openingOf(article);
  return make("li", {},
    make(heading, {}, make("a", { href: address("article", article.id) }, words(article.headline, article.language)), " ", status(article)),
    dayOf(article.published),
    article.publisher_id ? make("p.aside", {}, sourceLink(article.publisher_id, sources)) : null,
    opening && make("p", {}, words(opening, article.language)));
}

const MAX_OPENING = 180;

/** Give the first words of a text below its headline. */
function openingOf({ text, headline, zones }) {
  if (!text) return null;
  const zone = zones.find((each) => each.zone === "standfirst") ?? zones.find((each) => each.zone === "body");
  const start = zone ? offsets(text, [zone.start])(zone.start) : text.startsWith(headline) ? headline.length : 0;
  const line = text.slice(start).trimStart().split("\n", 1)[0];
  return line.length > MAX_OPENING ? `${line.slice(0, Math.max(line.lastIndexOf(" ", MAX_OPENING), MAX_OPENING / 2))} …` : line;
}

/** Show a claim or a denial as its words, with who is credited, and the responses that are at hand. */
export function statementItem(record, type, sources, denials = [], heading = "h3") {
  return make("li", {},
    make(heading, {}, make("a", { href: address(type, record.id) }, words(record.text, record.language)), " ", status(record)),
    dayOf(record.stated),
    make("p.aside", {}, credited(type === "denial" ? answered(record) : "Claimed", record, sources)),
    denials.map((denial) => answerLine(denial, sources)));
}

/** Show a response in one line, without its vehicles: "Denied by the ministry: …". */
export function answerLine(denial, sources) {
  const by = byline(denial, sources, false);
  return make(`p.answer.${denial.family}`, {}, make("b", {}, answered(denial)), by && [" by ", by], ": ",
    make("a", { href: address("denial", denial.id) }, words(denial.text, denial.language)), " ", status(denial));
}

/** Show a source by its name, with what it is and which offices it has. */
export function sourceItem(source, sources, heading = "h3") {
  const name = source.name ?? source.description ?? "A source without a name";
  const offices = source.roles.slice(0, 3).map((role) =>
    [words(capital(role.title)), role.organisation_id ? [", ", sourceLink(role.organisation_id, sources)] : null]);
  return make("li", {},
    make(heading, {}, make("a", { href: address("source", source.id) }, words(name)), " ", status(source)),
    make("p.when", {}, capital(term(source.kind))),
    offices.length > 0 && make("p.aside", {}, joined(offices, "; ")),
    source.name && source.description ? make("p.aside", {}, words(source.description)) : null);
}

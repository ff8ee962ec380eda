// Numbers at a glance: how many records there are of each kind, source or time, as bars that lead to their lists.

import { answersOf, hasKey } from "./api.js";
import { counted, draw, joined, make, words } from "./page.js";
import { answered, capital, moment, term } from "./words.js";

// What is counted if the address does not say: three requests, which are all that a page may make.
const GLANCE = [
  ["claims", ["kind", "stated:month", "claimant_id", "response_family", "metric"]],
  ["denials", ["family", "responder_id", "kind"]],
  ["articles", ["publisher_id", "published:month"]],
];
const LISTS = { claims: "claim", denials: "denial", articles: "article", sources: "source" };
/** Parameters of the page and of the counting; all others filter the records that are counted. */
const OWN = new Set(["of", "by", "limit"]);

const HEADINGS = {
  kind: "By kind", claimant_id: "By claimant", responder_id: "By responder", origin_id: "By origin", source_id: "By source in the chain",
  response_family: "How they were answered", family: "How they answer", metric: "What the figures count", publisher_id: "By publisher", country_code: "By country", article_id: "By article",
};
/** What a list is grouped by beside it. */
const BESIDE = {
  articles: ["publisher_id", "published:month"], claims: ["response_family", "claimant_id", "kind"],
  denials: ["family", "responder_id", "kind"], sources: ["kind", "country_code"],
};
const MAX_BESIDE = 6;

const NONE = {
  response_family: "no response that still stands", metric: "no figure", claimant_id: "no claimant", responder_id: "no responder",
};
const TIMES = { stated: "When they were said", published: "When they were published", occurred: "When it happened", created_at: "When they were recorded" };

export default async function show({ api, query }) {
  const of = LISTS[query.get("of")] ? query.get("of") : "claims";
  const filters = [...query].filter(([name]) => !OWN.has(name));
  const wanted = query.has("by") || query.has("of") ? [[of, query.has("by") ? query.getAll("by") : GLANCE.find(([type]) => type === of)?.[1] ?? ["kind"]]] : GLANCE;
  const answers = await answersOf(wanted.map(([type, by]) => {
    const asked = new URLSearchParams([...by.map((name) => ["by", name]), ...(type === of ? filters : [])]);
    asked.set("limit", query.get("limit") ?? "12");
    return api.get(`/v1/${type}/groups?${asked}`.replaceAll("%3A", ":"));
  }));
  const title = "Numbers at a glance";
  return {
    title,
    content: [
      make("p.kicker", {}, "Numbers"), make("h1", {}, title),
      make("p.standfirst", {}, joined(wanted.map(([type], index) => make("a", { href: listOf(type, type === of ? filters : []) }, counted(answers[index].total, LISTS[type]))), ", "), "."),
      hasKey() && make("p.aside", {}, "You use a key: what only it may read, such as drafts, is counted too."),
      filters.length > 0 && make("p.aside", {}, `Only ${of} with `, joined(filters.map(([name, value]) => make("code", {}, `${name}=${value}`)), " and "), ". ",
        make("a", { href: "/explore/groups" }, "Show all")),
      wanted.map(([type, by], index) => chapter(type, by, answers[index], type === of ? filters : [])),
    ],
  };
}

const listOf = (type, filters) => `/explore/${type}${filters.length ? `?${new URLSearchParams(filters)}` : ""}`;

function chapter(type, by, answer, filters) {
  return make("section", {},
    make("h2", {}, capital(type)),
    answer.total === 0 ? make("p.aside", {}, "None that you may see.") : make(`div.glance.${type}`, {}, by.map((name) => group(type, name, answer, filters))));
}

/** Count the records of a list, and show the bars that narrow it; null if all properties are chosen, or if it fails. */
export async function beside(api, type, filters) {
  const by = BESIDE[type].filter((name) => !filters.some(([filter]) => filter === name || filter.startsWith(`${name.split(":")[0]}__`)));
  if (by.length === 0) return null;
  const asked = new URLSearchParams([...by.map((name) => ["by", name]), ...filters, ["limit", MAX_BESIDE]]);
  const answer = await api.get(`/v1/${type}/groups?${asked}`.replaceAll("%3A", ":")).catch(() => null);
  return answer && make("section", {}, make("h2", {}, counted(answer.total, LISTS[type])), make(`div.glance.${type}`, {}, by.map((name) => group(type, name, answer, filters))));
}

// --- one property -------------------------------------------------------------------------------

/** Show how many records there are of each value of a property, as bars that lead to the list of them. */
export function group(type, name, { groups, others, none, exact }, filters) {
  const [property, part] = name.split(":");
  const isTime = part !== undefined;
  const rows = isTime ? groups[name].toSorted((a, b) => a.value.localeCompare(b.value)) : groups[name];
  const rest = [
    [others[name], rows.length ? "all others" : "with a value"],
    [none[name], NONE[name] ?? (isTime ? "time not known" : "not known")],
  ].filter(([count]) => count > 0);
  const most = Math.max(...rows.map((row) => row.count), 1);
  const heading = isTime ? TIMES[property] ?? capital(term(property)) : HEADINGS[name] ?? `By ${term(name)}`;
  return make("section.group", {},
    make("h3", {}, heading),
    rows.length + rest.length === 0 ? make("p.aside", {}, "Nothing to count.") : make("ol.bars", {},
      rows.map((row) => bar(make("a", { href: listOf(type, narrowed(filters, property, part, row.value)) }, row.name === null ? wordsFor(property, part, row.value) : words(row.name)), row.count, most)),
      rest.map(([count, text]) => make("li.rest", {}, make("span.label", {}, text), make("span.count", {}, count.toLocaleString("en"))))),
    isTime && rows.length > 0 ? make("p.aside", {}, "A list also has the records whose time only partly falls into it.") : null,
    exact[name] ? null : make("p.aside", {}, "There are too many records to count them all; there are more than this."));
}

/** One bar: its name, a line as long as its share of the longest, and its number. */
function bar(label, count, most) {
  return make("li", {},
    make("span.label", {}, label),
    draw("svg", { "aria-hidden": "true", width: "100%", height: "6" }, draw("rect", { width: `${(count / most) * 100}%`, height: "6" })),
    make("span.count", {}, count.toLocaleString("en")));
}

/** The filters of the list that has the records of a bar. */
function narrowed(filters, property, part, value) {
  const kept = filters.filter(([name]) => name !== property);
  if (!part) return [...kept, [property, value]];
  return [...kept, [`${property}__gte`, firstDay(value, 0)], [`${property}__lt`, firstDay(value, 1)]];
}

/** The first day of a year, month or day; or of the one after it. */
function firstDay(value, later) {
  const [year, month = 1, day = 1] = value.split("-").map(Number);
  const length = value.split("-").length;
  const moved = [year, month - 1, day];
  moved[length - 1] += later;
  return new Date(Date.UTC(...moved)).toISOString().slice(0, 10);
}

const MONTH = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });

function wordsFor(property, part, value) {
  if (part === "month") return MONTH.format(new Date(`${value}-01`));
  if (part) return part === "day" ? moment(value) : value;
  if (property === "family" || property === "response_family") return answered({ family: value });
  if (property === "language") return value === "und" ? "Not determined" : named("language", value);
  if (property === "place_country_code" || property === "country_code") return named("region", value);
  return property === "tag" ? words(value) : capital(term(value));
}

function named(type, code) {
  try {
    return new Intl.DisplayNames("en", { type }).of(code);
  } catch { // no code of the standard
    return code;
  }
}

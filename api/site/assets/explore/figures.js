// Figures side by side: a plot of what was said, the same as a table, and the request that both show.

import { answersOf } from "./api.js";
import { fitted, saveButton } from "./drawing.js";
import { counted, joined, make, section, words } from "./page.js";
import { conflictsAmong, plot } from "./plot.js";
import { capital, moment, nameOf, size, sourceLink, statementLink, states, term, time } from "./words.js";

/** Parameters of the page itself; all others are those of `listFigures`. */
const OWN = new Set(["group", "scale"]);
/** A table of more figures is folded up, since the drawing says the same. */
const MAX_OPEN = 40;
/** What the form has fields for; other filters are kept beside them. */
const FIELDS = new Set([...OWN, "metric", "sort", "cursor", "limit"]);

const GROUPS = { claimant: "by claimant", origin: "by origin", day: "by the day they were said" };
const SORTS = { lower: "the lowest first", "-upper": "the highest first", stated: "the earliest said first", "-stated": "the latest said first", "-created_at": "the latest recorded first" };
const SCALES = { "": "automatic", even: "even", log: "in steps of ten" };

export default async function show({ api, query }) {
  const asked = new URLSearchParams([...query].filter(([name]) => !OWN.has(name)));
  if (!asked.has("sort")) asked.set("sort", "lower");
  if (!asked.has("limit")) asked.set("limit", "100");
  const shown = `/v1/figures?${asked}`;
  asked.set("expand", "sources,claims,denials");
  const [page, counts] = await answersOf([
    api.get(`/v1/figures?${asked}`.replaceAll("%2C", ",")),
    api.get("/v1/claims/groups?by=metric&limit=200"),
  ]);
  const metric = query.get("metric");
  const title = metric ? capital(term(metric)) : "Figures side by side";
  const metrics = new Set([...counts.groups.metric.map((group) => group.value), ...page.items.map((item) => item.metric), metric].filter(Boolean));
  const head = [make("p.kicker", {}, "Figures"), make("h1", {}, title)];
  const rows = rowsOf(page, GROUPS[query.get("group")] ? query.get("group") : "claimant");
  if (rows.length === 0) return { title, content: [head, make("p.standfirst", {}, "No figure that you may see matches."), form(query, metrics)] };
  const panels = panelsOf(rows);
  const summary = summaryOf(rows, page);
  const drawing = fitted((width) => plot(panels, width, query.get("scale"), `${title}. ${summary} The table below the drawing says the same.`));
  return {
    title,
    content: [
      head, make("p.standfirst", {}, summary), form(query, metrics),
      make("figure.plotted", {}, drawing.holder,
        make("figcaption", {}, "A figure reaches as far as its printed words do: “at least 100” has no end. ",
          saveButton(drawing.holder, `figures-${metric ?? "all"}`, shown), " · ", make("a", { href: shown, target: "_blank", rel: "noreferrer" }, "The same as JSON"))),
      section("The same as a table", folded(table(rows, page.included), rows.length)),
      page.next_cursor && make("p", {}, make("a.more", { href: linkWith(query, { cursor: page.next_cursor }) }, "More figures")),
    ],
    ready: drawing.ready,
  };
}

function linkWith(query, changes) {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) next.delete(name);
    else next.set(name, value);
  }
  return `/explore/figures?${next}`;
}

// --- the form -----------------------------------------------------------------------------------

function form(query, metrics) {
  const others = [...query].filter(([name]) => !FIELDS.has(name));
  return make("form.search.plotting", { action: "/explore/figures" },
    choice("metric", "What is counted", { "": "everything", ...Object.fromEntries([...metrics].map((name) => [name, term(name)])) }, query.get("metric") ?? ""),
    choice("group", "Grouped", GROUPS, query.get("group") ?? "claimant"),
    choice("sort", "In this order", SORTS, query.get("sort") ?? "lower"),
    choice("scale", "Scale", SCALES, query.get("scale") ?? ""),
    make("button", {}, "Show"),
    others.map(([name, value]) => make("input", { type: "hidden", name, value })),
    others.length > 0 && make("p.aside", {}, "Only figures with ", joined(others.map(([name, value]) => make("code", {}, `${name}=${value}`)), " and "), ". ",
      make("a", { href: linkWith(query, Object.fromEntries([...others.map(([name]) => name), "cursor"].map((name) => [name, null]))) }, "Show all")));
}

function choice(name, label, options, chosen) {
  return make("label", {}, label,
    make("select", { name }, Object.entries(options).map(([value, text]) => make("option", { value, selected: value === chosen }, text))));
}

// --- the rows -----------------------------------------------------------------------------------

const keyOf = ({ type, id }, index) => `${type}/${id}/${index ?? 0}`;

function rowsOf({ items, included: { sources, claims, denials } }, group) {
  const named = (ids) => {
    const names = ids.slice(0, 2).map((id) => nameOf(id, sources));
    return names.length ? names.join(" and ") + (ids.length > 2 ? ` and ${ids.length - 2} more` : "") : null;
  };
  const panels = grouped(items, panelOf);
  return items.map((figure) => {
    const { record, index, stated, as_of: about, validity, reading } = figure;
    const claimants = named(figure.claimants) ?? "Nobody who is credited";
    const origins = named(figure.origins) ?? "No known origin";
    const day = plain(time(stated && { earliest: stated.earliest?.slice(0, 10), latest: stated.latest?.slice(0, 10) }));
    const groups = { claimant: claimants, origin: origins, day: day ?? "Day not known" };
    const notes = [
      group !== "claimant" && groups[group] !== claimants ? claimants : null,
      group !== "day" ? day : null,
      populationsOf(panels.get(panelOf(figure))).size > 1 ? figure.population : null,
      ...states((record.type === "claim" ? claims : denials)[record.id] ?? { validity }),
    ];
    return {
      key: keyOf(record, index), figure, record: (record.type === "claim" ? claims : denials)[record.id],
      group: groups[group], note: notes.filter(Boolean).join(" · "),
      size: size(figure), about,
      reading: reading ? `an editor reads: ${bounds(reading)}` : null,
      dim: validity !== "standing", denied: record.type === "denial",
      conflicts: figure.conflicts.map((conflict) => ({ other: keyOf(conflict.record, conflict.index), basis: conflict.basis, record: conflict.record })),
      choose: () => document.getElementById(keyOf(record, index))?.querySelector(".statement a")?.click(),
    };
  });
}

const plain = (content) => (content ? [content].flat(9).join("") : null);

const bounds = ({ lower, upper }) => [lower, upper].filter((number) => number !== null).map((number) => number.toLocaleString("en")).join(" to ");

const panelOf = ({ metric, unit }) => `${metric} ${unit}`;
const populationsOf = (figures) => new Set(figures.map(({ population }) => population));

/** Put the rows of a group together, the groups and the panels in the order in which they first appear. */
function panelsOf(rows) {
  return [...grouped(rows, (row) => panelOf(row.figure)).values()].map((panel) => {
    const { metric, unit } = panel[0].figure;
    const [population, ...others] = populationsOf(panel.map((row) => row.figure));
    const counted = population && !others.length ? population : unit === "person" ? "people" : term(unit);
    return { name: capital(term(metric)), note: counted === metric ? null : capital(counted), unit, rows: [...grouped(panel, (row) => row.group).values()].flat() };
  });
}

function grouped(rows, keyFor) {
  const groups = new Map();
  for (const row of rows) groups.set(keyFor(row), [...(groups.get(keyFor(row)) ?? []), row]);
  return groups;
}

function summaryOf(rows, page) {
  const claimants = new Set(rows.flatMap((row) => row.figure.claimants));
  const vague = rows.filter((row) => row.figure.qualifier === "vague").length;
  const { joined: pairs, lonely } = conflictsAmong(rows);
  const isAlone = rows.length === 1;
  return [
    `${page.next_cursor ? "The first " : ""}${counted(rows.length, "figure")}${claimants.size ? `, from ${counted(claimants.size, "claimant")}` : ""}.`,
    vague ? `${isAlone ? "It is" : `${vague} ${vague === 1 ? "is" : "are"}`} in words, without a number.` : null,
    pairs.length ? `${counted(pairs.length, "pair")} ${pairs.length === 1 ? "contradicts" : "contradict"} each other.` : null,
    lonely.length ? `${isAlone ? "It contradicts" : `${lonely.length} ${lonely.length === 1 ? "contradicts" : "contradict"}`} a figure elsewhere.` : null,
  ].filter(Boolean).join(" ");
}

// --- the table ----------------------------------------------------------------------------------

function table(rows, included) {
  const people = (ids) => joined(ids.slice(0, 5).map((id) => sourceLink(id, included.sources)), ", ");
  const cells = rows.map((row) => {
    const { figure } = row;
    return make("tr", { id: row.key },
      make("th", { scope: "row" }, words(capital(row.size)), row.reading ? make("span.note", {}, capital(row.reading)) : null),
      make("td", {}, capital(term(figure.metric)), figure.population ? make("span.note", {}, words(figure.population)) : null),
      make("td", {}, figure.claimants.length ? people(figure.claimants) : "Nobody is credited",
        figure.origins.some((id) => !figure.claimants.includes(id)) ? make("span.note", {}, "from ", people(figure.origins)) : null),
      make("td", {}, time(figure.stated) ?? "not known", row.about ? make("span.note", {}, "as of ", moment(row.about)) : null),
      make("td.statement", {}, statement(figure.record, row.record), make("q.note", {}, words(figure.printed))),
      make("td", {}, figure.conflicts.length ? joined(figure.conflicts.map(({ record, basis }) =>
        [statement(record, (record.type === "claim" ? included.claims : included.denials)[record.id]), basis === "computed" ? " (by the numbers)" : " (an editor says so)"]), "; ") : "–",
        figure.more ? " and perhaps others" : null));
  });
  return make("div.scrolled", { tabindex: "0", role: "region", "aria-label": "Table of figures" },
    make("table.data", {},
      make("thead", {}, make("tr", {}, ["Figure", "Of what", "Claimant", "Said", "Statement, with the words printed", "Contradicts"].map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, cells)));
}

/** Let the reader open a long table: its rows are drawn above it. */
function folded(content, count) {
  return count > MAX_OPEN ? make("details", {}, make("summary", {}, `Show the table of ${count} figures`), content) : content;
}

const statement = ({ type, id }, record) => statementLink(type, id, record, `another ${type}`);

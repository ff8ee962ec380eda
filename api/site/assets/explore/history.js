// What was changed in a record, from one version to the next, or between any two.

import { differences } from "./differences.js";
import { make, section, words } from "./page.js";
import { capital, moment, term } from "./words.js";

/** Longer stretches without a change are shown by their ends. */
const MAX_SAME = 3000;
const ENDS = 400;

export default async function show({ api, type, id, query }) {
  const { items, next_cursor: older } = await api.get(`/v1/${type}/${encodeURIComponent(id)}/revisions?limit=50`);
  const newest = items.find((item) => item.record)?.record;
  const title = newest?.headline ?? newest?.text ?? newest?.name ?? newest?.description ?? "A record";
  const [from, to] = [query.get("from"), query.get("to")].map((version) => items.find((item) => String(item.version) === version));
  return {
    title: `History: ${title}`,
    content: [
      make("p.kicker", {}, "History"),
      make("h1", {}, make("a", { href: `/explore/${type}/${encodeURIComponent(id)}` }, words(title, newest?.language))),
      items.length > 1 && chooser(items, type, id, from, to),
      from && to
        ? section(`From version ${from.version} to ${to.version}`, changes(from, to))
        : items.map((item, index) => revision(item, items[index + 1], index === 0)),
      older && make("p.aside", {}, "Older versions are not shown here. The API lists them all."),
    ],
  };
}

/** Let the reader compare any two versions. */
function chooser(items, type, id, from = items[1], to = items[0]) {
  const select = (name, label, chosen) => make("label", {}, `${label} `, make("select", { name },
    items.map(({ version, at }) => make("option", { value: version, selected: version === chosen.version }, `${version}, ${moment(at)}`))));
  return make("form.search.compare", { action: `/explore/${type}/${encodeURIComponent(id)}/history` },
    select("from", "Compare version", from), select("to", "with version", to), make("button", {}, "Compare"));
}

function revision(item, before, isNewest) {
  const by = item.actor === "system" ? " by the service itself" : item.actor ? [" by the key ", make("code", {}, item.actor)] : null;
  return section(`Version ${item.version}`,
    make("p.aside", {}, `${capital(term(item.op))} on ${moment(item.at)}`, by, "."),
    before && opened(() => changes(before, item), isNewest));
}

/** Compare two versions when the reader wants to see it; the two newest at once. */
function opened(content, isOpen) {
  const details = make("details", { open: isOpen }, make("summary", {}, "What was changed"), isOpen && content());
  if (!isOpen) details.addEventListener("toggle", () => details.append(content()), { once: true });
  return details;
}

/** Show what differs between two revisions, property by property. */
function changes(before, after) {
  if (!before.record || !after.record) return make("p.aside", {}, "One of these versions is a deletion: it has no content to compare.");
  const names = Object.keys(after.record).filter((name) => !["version", "updated_at", "text_sha256", "text_length"].includes(name)
    && JSON.stringify(before.record[name]) !== JSON.stringify(after.record[name]));
  if (names.length === 0) return make("p.aside", {}, "Nothing differs.");
  return make("dl.changes", {}, names.map((name) => [
    make("dt", {}, capital(term(name))),
    make("dd", {}, change(before.record[name], after.record[name])),
  ]));
}

function change(before, after) {
  const isText = [before, after].every((value) => value === null || typeof value === "string" || isListOfTexts(value));
  const written = (value) => (value === null || value === undefined ? "" : isText ? [value].flat().join(", ") : JSON.stringify(value, null, 2));
  const kinds = { same: (text) => shortened(text), removed: (text) => make("del", {}, text), added: (text) => make("ins", {}, text) };
  return make(isText ? "div.difference" : "pre", { dir: "auto", tabindex: isText ? null : "0" },
    differences(written(before), written(after)).map(({ kind, text }) => kinds[kind](text)));
}

const isListOfTexts = (value) => Array.isArray(value) && value.every((each) => typeof each === "string");

function shortened(text) {
  if (text.length <= MAX_SAME) return text;
  const left = text.length - 2 * ENDS;
  return [text.slice(0, ENDS), make("span.aside", {}, ` [ ${left.toLocaleString("en")} characters are the same ] `), text.slice(-ENDS)];
}

// The parameters of a list as a form. It is written from the OpenAPI document, so it has every filter there is.

import { make } from "./page.js";
import { capital, term } from "./words.js";

/** Parameters that ask for another form of the list than the one that a page can show. */
export const FORMS = ["format", "columns", "wide", "bom", "trailer"];
/** What the page itself sets. */
const OWN = new Set(["expand", "cursor", "limit", "count", ...FORMS]);
const COMPARISONS = { gt: "after", gte: "from", lt: "before", lte: "until" };

/** Name a parameter in words: `stated__gte` as "Stated from". */
export function label(name) {
  const [field, comparison] = name.split("__");
  return capital([term(field), COMPARISONS[comparison] ?? term(comparison)].filter(Boolean).join(" "));
}

/** Show the filters of a list: a field for words, what is set, and all the others when the reader asks for them. */
export function filterForm(api, type, query) {
  const search = type === "sources" ? "name" : "q";
  const set = [...query].filter(([name]) => name !== search && !OWN.has(name));
  const fields = make("div.fields", {}, set.map(hidden));
  const details = make("details.filters", {}, make("summary", {}, "All filters"), fields);
  details.addEventListener("toggle", () => open(api, type, query, set, search, fields), { once: true });
  return make("form.search", { action: `/explore/${type}`, role: "search" },
    make("label", { for: "search" }, type === "sources" ? "A name, or words of it" : `Words in the ${type}`),
    make("input", { id: "search", name: search, type: "search", maxlength: "500", value: query.get(search) }),
    make("button", {}, "Search"),
    set.length > 0 && make("ul.set", { "aria-label": "Filters that are set" }, set.map(([name, value]) => chip(type, query, name, value))),
    details);
}

/** Show a filter that is set, as a link that removes it. */
function chip(type, query, name, value) {
  const without = new URLSearchParams([...query].filter(([each, its]) => each !== "cursor" && !(each === name && its === value)));
  return make("li", {}, make("a", { href: `/explore/${type}?${without}`, "aria-label": `Remove the filter ${label(name)}: ${value}` },
    `${label(name)}: ${term(value)} ×`));
}

const hidden = ([name, value]) => make("input", { type: "hidden", name, value });

async function open(api, type, query, set, search, fields) {
  const left = make("p.aside", { role: "status" }, "Reading the filters …");
  fields.before(left);
  const document = await api.get("/openapi.json").catch(() => null);
  left.remove();
  if (document === null) return;
  const look = (part) => (part.$ref ? part.$ref.slice(2).split("/").reduce((place, name) => place[name], document) : part);
  const parameters = document.paths[`/v1/${type}`].get.parameters.map(look)
    .filter(({ name }) => !OWN.has(name) && name !== search && !/__n?in$/.test(name));
  // A field holds one value. What has no field, and the other values of what has one, is kept without.
  const names = parameters.map(({ name }) => name);
  const kept = set.filter(([name], index) => !names.includes(name) || set.findIndex(([first]) => first === name) < index);
  fields.replaceChildren(...kept.map(hidden), ...parameters.map((parameter) => field(parameter, { ...look(parameter.schema), ...parameter.schema }, query.get(parameter.name))),
    make("p.buttons", {}, make("button", {}, "Show")));
}

/** Make the field of a parameter, by its schema. */
function field({ name, description }, schema, value) {
  const terms = schema.enum ?? schema["x-extensible-enum"] ?? (schema.type === "boolean" ? ["true", "false"] : null);
  const type = schema.type === "number" || schema.type === "integer" ? "number" : "text";
  const example = schema.examples?.[0];
  // A term that a later version has added is in no list.
  const options = terms && [...new Set(["", ...terms, value ?? ""])];
  return make("label", { title: description }, label(name), options
    ? make("select", { name }, options.map((each) => make("option", { value: each, selected: each === (value ?? "") }, each ? term(each) : "any")))
    : make("input", { name, type, step: type === "number" ? "any" : null, value, placeholder: typeof example === "string" && example.length < 30 ? example : null }));
}

// A list of articles, claims, denials or sources, page by page, with its filters.

import { Problem } from "./api.js";
import { filterForm, FORMS } from "./filters.js";
import { beside } from "./groups.js";
import { counted, make, problemSection } from "./page.js";
import { articleItem, capital, sourceItem, statementItem } from "./words.js";

/** Parameters that choose no records. */
const OF_PAGE = new Set(["limit", "cursor", "sort", "count", "expand", ...FORMS]);

// What a page of each list brings along, and how it shows one record.
const LISTS = {
  articles: { expand: "sources", item: (record, { sources }) => articleItem(record, sources, "h2") },
  claims: { expand: "sources,denials", item: (record, included) => statementItem(record, "claim", included.sources, answersTo(record, included), "h2") },
  denials: { expand: "sources", item: (record, { sources }) => statementItem(record, "denial", sources, [], "h2") },
  sources: { expand: "sources", item: (record, { sources }) => sourceItem(record, sources, "h2") },
};

const answersTo = (claim, { denials }) => Object.values(denials)
  .filter((denial) => denial.targets.some((target) => target.claim_id === claim.id)).slice(0, 3);

export default async function show({ api, type, query }) {
  const { expand, item } = LISTS[type];
  const asked = new URLSearchParams([...query].filter(([name]) => !FORMS.includes(name)));
  if (!asked.has("limit")) asked.set("limit", "20");
  asked.set("expand", expand);
  const head = [make("h1", {}, capital(type)), filterForm(api, type, query)];
  const list = api.get(`/v1/${type}?${asked}`.replaceAll("%2C", ","));
  const numbers = beside(api, type, [...query].filter(([name]) => !OF_PAGE.has(name)));
  let page;
  try {
    page = await list;
  } catch (error) { // a filter that is not valid can be mended where it was filled in
    if (!(error instanceof Problem) || error.document.status !== 400) throw error;
    return { title: error.document.title, content: [head, problemSection(error.document)] };
  }
  return {
    title: capital(type),
    content: [
      head,
      page.total === null ? null : make("p.aside", {}, counted(page.total, "record"), page.total_is_lower_bound ? " or more" : ""),
      make("div.listing", {},
        make("div", {},
          page.items.length
            ? make("ol.records.dated", {}, page.items.map((record) => item(record, page.included)))
            : make("p.standfirst", {}, "Nothing that you may see matches."),
          page.next_cursor && make("p", {}, make("a.more", { href: nextPage(type, query, page.next_cursor) }, "Next page"))),
        page.items.length > 0 && (await numbers)),
    ],
  };
}

function nextPage(type, query, cursor) {
  const next = new URLSearchParams(query);
  next.set("cursor", cursor);
  return `/explore/${type}?${next}`;
}

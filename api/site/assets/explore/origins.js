// Draw how many independent origins stand behind a claim: from each origin, lines to the claims that come from it.

import { linesOf, plain } from "./drawing.js";
import { counted, draw, joined, make, words } from "./page.js";
import { nameOf, sourceLink, statementLink, states, term } from "./words.js";

const MAX_DRAWN = 10;
const ROW = 44;
const WIDTH = 500;
const LETTERS = 15; // their size, as the stylesheet has it
const LINE = 17;
const GAP = 12;

/** Draw the answer of `getClaimOrigins`, and say the same in words. */
export function originGraph(counts, claim, { sources, claims }) {
  const { count, at_least: least, origins, uncertain, unresolved, author_voice: voiced, truncated } = counts;
  const drawn = origins.slice(0, MAX_DRAWN);
  const names = counts.claims.slice(0, MAX_DRAWN);
  const textOf = (id) => (id === claim.id ? "this claim" : claims[id] ? [...states(claims[id]), claims[id].text].join(": ") : "another claim");
  return [
    make("p", {}, make("b.large", {}, count ? counted(count, "independent origin") : "No independent origin"), least < count ? ` (at least ${least}, since some may be one)` : null,
      counts.claims.length > 1 ? `, in ${counts.claims.length} claims that say the same` : null, "."),
    drawn.length > 0 && graph(drawn, names, uncertain, sources, textOf),
    make("ul.plain", {}, origins.slice(0, MAX_DRAWN).map((origin) => make("li", {}, sourceLink(origin.source_id, sources),
      origin.via_ids.length ? [", via ", sourceLink(origin.via_ids[0], sources), origin.via_ids.length > 1 ? ` and ${origin.via_ids.length - 1} more` : null] : null,
      make("span.role", {}, `${counted(origin.claim_ids.length, "claim")}, printed in ${counted(origin.via_articles.length, "article")}`),
      origin.claim_ids.filter((id) => id !== claim.id).slice(0, 3).map((id) =>
        make("p.aside", {}, statementLink("claim", id, claims[id], "Another claim")))))),
    origins.length > MAX_DRAWN && make("p.aside", {}, `And ${counted(origins.length - MAX_DRAWN, "more origin")}.`),
    uncertain.map((each) => make("p.aside", {}, "Perhaps not independent: ",
      each.source_ids.slice(0, 4).flatMap((id, index) => [index ? " and " : "", words(nameOf(id, sources))]), ` (${term(each.why)}).`)),
    unresolved.length > 0 && make("p.aside", {}, counts.claims.length > 1 ? `The origin of ${counted(unresolved.length, "claim")} is not known.` : "Its origin is not known."),
    voiced.length > 0 && make("p.aside", {}, `${counted(voiced.length, "claim")} the article makes itself.`),
    truncated && make("p.aside", {}, "There are more than are counted here."),
  ];
}

function graph(origins, claimIds, uncertain, sources, textOf) {
  const height = Math.max(origins.length, claimIds.length) * ROW;
  const at = (index, length) => (height / length) * (index + 0.5);
  const places = new Map(origins.map((origin, index) => [origin.source_id, at(index, origins.length)]));
  const claimPlaces = new Map(claimIds.map((id, index) => [id, at(index, claimIds.length)]));
  const [left, right] = [225, 290];
  const lines = origins.flatMap((origin) => origin.claim_ids.filter((id) => claimPlaces.has(id)).map((id) =>
    draw("path.line", { d: `M${left},${places.get(origin.source_id)} C${left + 35},${places.get(origin.source_id)} ${right - 35},${claimPlaces.get(id)} ${right},${claimPlaces.get(id)}` })));
  const doubts = uncertain.flatMap(({ source_ids: [first, ...others] }) => others.filter((id) => places.has(id) && places.has(first)).map((id) =>
    draw("path.doubt", { d: `M${left},${places.get(first)} C${left + 30},${places.get(first)} ${left + 30},${places.get(id)} ${left},${places.get(id)}` })));
  return draw("svg.graph", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${counted(origins.length, "origin")}, with lines to ${counted(claimIds.length, "claim")}` },
    lines, doubts,
    origins.map(({ source_id: id }) => node(left, places.get(id), nameOf(id, sources), "end", "origin")),
    claimIds.map((id) => node(right, claimPlaces.get(id), textOf(id), "start", "claimed")));
}

function node(x, y, text, anchor, kind) {
  const lines = linesOf(text, (anchor === "end" ? x : WIDTH - x) - GAP, 2, LETTERS);
  const at = x + (anchor === "end" ? -GAP : GAP);
  return [
    draw(`circle.${kind}`, { cx: x, cy: y, r: 5 }),
    draw("text", { "text-anchor": anchor }, draw("title", {}, plain(text)), lines.map((line, index) =>
      draw("tspan", { x: at, y: y + 5 + LINE * (index - (lines.length - 1) / 2) }, line))),
  ];
}

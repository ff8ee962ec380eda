// Show the newest claims and who claimed them. Without this script the page keeps a plain link.
"use strict";

const place = document.getElementById("latest");

/** Make an element; whatever the records hold enters the page as text only, never as markup. */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Name a source as a reader would: by its name, else its description, else the printed words. */
function nameOf(id, printed, sources) {
  const source = sources[id];
  return source?.name || source?.description || printed || (id ? "a source not shown" : "nobody named");
}

/** Write one attribution: who, how sure the attribution is, and through what. */
function credit(attribution, sources) {
  const inOwnVoice = attribution.role === "author_voice" && !attribution.source_id;
  let words = inOwnVoice ? "the article itself" : nameOf(attribution.source_id, attribution.printed, sources);
  if (attribution.source_id && attribution.resolution !== "certain") words += ` (${attribution.resolution})`;
  if (attribution.via_id) words += `, via ${nameOf(attribution.via_id, null, sources)}`;
  return words;
}

/** Write the chain from the reader to the origin: equal positions speak jointly, higher ones are cited. */
function chain(attributions, sources) {
  const known = attributions.filter((a) => a.source_id || a.via_id || a.printed || a.role === "author_voice");
  const hops = new Map();
  for (const attribution of known.sort((a, b) => a.position - b.position)) {
    const hop = hops.get(attribution.position) ?? [];
    hops.set(attribution.position, [...hop, credit(attribution, sources)]);
  }
  if (hops.size === 0) return "Nobody is credited with it";
  return `Claimed by ${[...hops.values()].map((hop) => hop.join(" and ")).join(", citing ")}`;
}

function claimItem(claim, sources) {
  const link = make("a", "", claim.text);
  link.href = `/v1/claims/${encodeURIComponent(claim.id)}`;
  const words = make("p", "words", link);
  if (claim.language && claim.language !== "und") words.lang = claim.language;
  return make("li", "", words, make("p", "who", chain(claim.attributions, sources)));
}

function say(sentence) {
  place.replaceChildren(make("p", "", sentence));
}

async function showLatest() {
  const response = await fetch("/v1/claims?limit=5&expand=sources", { headers: { Accept: "application/json" } });
  if (response.status === 401 || response.status === 403) {
    say("Reading the claims here needs a key.");
    return;
  }
  const { items, included } = await response.json();
  if (items.length === 0) {
    say("No claims yet. The first one takes one line: its text.");
    return;
  }
  const list = items.map((claim) => claimItem(claim, included.sources ?? {}));
  place.replaceChildren(make("ul", "claims", ...list));
}

showLatest().catch(() => say("The claims can’t be shown just now."));

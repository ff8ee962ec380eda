// Cut the text of an article into blocks, which are shown one below the other.
// Only computation: no element is made here.

import { offsets } from "./marks.js";

/** A block is no longer than this (in UTF-16), so that a browser can lay out those on the screen alone. */
const MAX_BLOCK = 10_000;
/** Each line is a block of its own, unless a text has more of them: then a block takes as many lines as it can. */
const MAX_LINES = 2000;

/** Cut a text into `[{ start, end, zone }]` in UTF-16; `zone` is the part of the article, such as a caption, or null. */
export function blocksOf(text, zones = []) {
  const unit = offsets(text, zones.flatMap((zone) => [zone.start, zone.end]));
  const parts = zones.map(({ zone, start, end }) => ({ zone, start: unit(start), end: unit(end) })).sort((a, b) => a.start - b.start);
  const isLong = text.split("\n", MAX_LINES + 2).length > MAX_LINES + 1;
  const edges = isLong ? parts.flatMap(({ start, end }) => [start, end]).sort((a, b) => a - b) : [];
  const blocks = [];
  for (let start = 0, next = 0, part = 0; start < text.length;) {
    while (edges[next] <= start) next += 1;
    while (part < parts.length && parts[part].end <= start) part += 1;
    const end = Math.min(endOf(text, start, isLong), edges[next] ?? text.length);
    blocks.push({ start, end, zone: parts[part]?.start <= start ? parts[part].zone : null });
    start = end;
  }
  return blocks;
}

/** Find where a block ends that begins here: behind a line, else behind a word, else between two characters. */
function endOf(text, start, isLong) {
  const ahead = text.slice(start, start + MAX_BLOCK);
  const line = isLong ? ahead.lastIndexOf("\n") : ahead.indexOf("\n");
  if (start + ahead.length === text.length && (isLong || line < 0)) return text.length;
  const at = line < 0 ? ahead.lastIndexOf(" ") : line;
  if (at >= 0) return start + at + 1;
  const isCutInTwo = text.codePointAt(start + ahead.length - 1) > 0xffff; // of an emoji, the first half
  return start + ahead.length - (isCutInTwo ? 1 : 0);
}

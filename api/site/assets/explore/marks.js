// Find where the words of claims and denials stand in a text, and cut the text at every end of a mark.
// Only computation: no element is made here.

/** A piece of text belongs to no more marks than this; the innermost come first. */
const MAX_COVER = 8;
/** Marks over the same words are underlined one below the other, in so many lines. */
const LANES = 3;

/**
 * Give a function that turns offsets in code points, which the API counts, into those in UTF-16, which
 * JavaScript counts: an emoji is one of the former and two of the latter. It walks over the text once.
 */
export function offsets(text, codePoints) {
  if (!/[\ud800-\udbff]/.test(text)) return (codePoint) => codePoint;
  const found = new Map();
  let unit = 0;
  let passed = 0;
  for (const wanted of [...new Set(codePoints)].sort((a, b) => a - b)) {
    for (; passed < wanted && unit < text.length; passed += 1) unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
    found.set(wanted, unit);
  }
  return (codePoint) => found.get(codePoint);
}

/** Choose the spans that show a statement: the words that say it, else the words that report it. */
export function shown(spans) {
  for (const role of ["content", "cue"]) {
    const chosen = spans.filter((span) => span.role === role);
    if (chosen.length) return chosen;
  }
  return spans;
}

/**
 * Find the marks of an article: `[{ start, end, statement }]` in UTF-16, in reading order. `statements` are
 * `[{ type, record }]`. Appearances whose words do not stand in the text are returned as `lost`; those without words,
 * and all if the article has no text, as `unplaced`.
 */
export function findMarks(article, statements) {
  const text = article.text ?? "";
  const appearances = statements.flatMap((statement) => statement.record.appearances
    .filter((appearance) => appearance.article_id === article.id)
    .map((appearance) => ({ statement, appearance, spans: shown(appearance.spans) })));
  const unit = offsets(text, appearances.flatMap(({ spans }) => spans.flatMap((span) => [span.start, span.end])));
  const marks = [];
  const [lost, unplaced] = [[], []];
  for (const { statement, appearance, spans } of appearances) {
    const placed = spans.map((span) => ({ start: unit(span.start), end: unit(span.end), statement, exact: span.exact }));
    // The offsets of lost words are those of an earlier text.
    const stand = placed.every((mark) => text.slice(mark.start, mark.end) === mark.exact);
    if (article.text === null || spans.length === 0) unplaced.push({ statement, appearance });
    else if (stand && ["exact", "relocated"].includes(appearance.anchor)) marks.push(...placed);
    else lost.push({ statement, appearance });
  }
  marks.sort((a, b) => a.start - b.start || b.end - a.end);
  return { marks, lost, unplaced };
}

/** Give each mark a `lane`, the line below the words: marks that overlap have different ones, while there are any. */
export function layOut(marks) {
  const ends = Array(LANES).fill(0);
  for (const mark of marks) {
    const free = ends.findIndex((end) => end <= mark.start);
    mark.lane = free < 0 ? LANES - 1 : free;
    ends[mark.lane] = Math.max(ends[mark.lane], mark.end);
  }
}

/**
 * Cut the marked parts of a text into pieces `{ start, end, cover, isMore, lines }`; `cover` are the marks over it,
 * innermost first, `isMore` says that some of them are left out, and `lines` names the lines below the words, such as
 * "claim-0": there is one wherever a mark of that type has that lane.
 */
export function cut(marks) {
  const places = [...new Set(marks.flatMap((mark) => [mark.start, mark.end]))].sort((a, b) => a - b);
  const pieces = [];
  const open = []; // sorted by where they begin, so that the innermost are at the end
  const lines = new Map(); // where each line ends
  let next = 0;
  for (let index = 0; index + 1 < places.length; index += 1) {
    const [start, end] = [places[index], places[index + 1]];
    for (; next < marks.length && marks[next].start <= start; next += 1) {
      const mark = marks[next];
      const line = `${mark.statement.type}-${mark.lane}`;
      open.push(mark);
      lines.set(line, Math.max(lines.get(line) ?? 0, mark.end));
    }
    const cover = [];
    for (let at = open.length - 1; at >= 0 && cover.length <= MAX_COVER; at -= 1) {
      if (open[at].end > start) cover.push(open[at]);
      else open.splice(at, 1); // it has ended, and is passed by no more
    }
    if (cover.length === 0) continue;
    pieces.push({
      start, end, cover: cover.slice(0, MAX_COVER), isMore: cover.length > MAX_COVER,
      lines: [...lines].filter(([, last]) => last > start).map(([line]) => line),
    });
  }
  return pieces;
}

// Draw figures side by side: a panel for each thing that is counted, with a scale of its own, and a row for each figure.
//
// A row is { key, group, note, size, figure, dim, denied, conflicts, choose }. A figure without a number stands in a
// band of its own below the scale: a place on the scale would say more than was said.

import { draw } from "./page.js";
import { line, linesOf, plain, widthOf } from "./drawing.js";
import { kindOf, scale } from "./scale.js";

const WIDE = 680;
// A row of a figure is so high, and its mark stands in this depth. Where there are more than MAX_TALL figures, their
// rows are low: the words stand beside the mark, and not above it.
const MAX_TALL = 40;
const TALL = { row: 46, mark: 32, size: 14, group: 16, vague: 17, lines: 2 };
const LOW = { row: 22, mark: 12, size: 13, group: 15, vague: 15, lines: 1 };
const LINE = 20; // a line of the name of a group
const AXIS = 28;
const HEAD = 30;
const MAX_JOINED = 400;
const MIN_BESIDE = 40; // less room than this has no word

/** Draw panels of { name, note, unit, rows }; `wanted` is the kind of scale that the reader wants. */
export function plot(panels, width, wanted, label) {
  const isWide = width >= WIDE;
  const rows = panels.flatMap((panel) => panel.rows);
  const isLow = rows.length > MAX_TALL;
  const pairs = conflictsAmong(rows);
  const hasLines = pairs.joined.length + pairs.lonely.length > 0;
  const labels = isWide ? Math.min(300, width * 0.3) : 0;
  const frame = { isWide, isLow, ...(isLow ? LOW : TALL), width, labels, left: labels ? labels + 24 : 4, right: width - (hasLines ? (isWide ? 64 : 34) : 8) };
  const places = new Map(); // where each row's mark is: { y, end }
  const [legend, top] = legendOf(rows, pairs, frame);
  let y = top;
  const drawn = panels.map((panel) => {
    const [content, bottom] = panelOf(panel, y, frame, wanted, places);
    y = bottom + 28;
    return content;
  });
  const height = Math.ceil(y - 12);
  return draw(isLow ? "svg.plot.low" : "svg.plot", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": plain(label) },
    legend, drawn, joinedBy(pairs, places, frame, height));
}

// --- a panel ------------------------------------------------------------------------------------

const numbersOf = ({ figure: { lower_bound: lower, upper_bound: upper, value } }) => [lower, upper, value].filter((number) => typeof number === "number");

function panelOf({ name, note, unit, rows }, top, frame, wanted, places) {
  const measured = rows.filter((row) => numbersOf(row).length > 0);
  const vague = rows.filter((row) => numbersOf(row).length === 0);
  const numbers = measured.flatMap(numbersOf);
  const content = [draw("path.heavy", { d: `M0,${top}H${frame.width}` }), line(name, 0, top + 22, "panel")];
  const kind = numbers.length ? kindOf(numbers, wanted) : null;
  const about = [note, SAID_OF[kind], kind === "even" && wanted === "log" ? "steps of ten cannot show zero" : null].filter(Boolean).join(". ");
  const beside = widthOf(name, 18, 700) + 16;
  const isBeside = beside + widthOf(about, 13) < frame.right;
  let y = top + HEAD;
  if (isBeside) content.push(line(about, frame.right, top + 22, "soft", "end"));
  else for (const part of linesOf(about, frame.right, 3, 13)) content.push(line(part, 0, (y += 18) - 6, "soft"));
  if (measured.length) {
    const axis = scale(numbers, kind, unit, frame.left + 6, frame.right - 20);
    const [marks, bottom] = rowsOf(measured, y + AXIS, frame, places, (row, at) => markOf(row, axis, at, frame));
    content.push(axisOf(axis, y + AXIS, bottom), marks);
    y = bottom;
  }
  if (vague.length) {
    const from = y + (measured.length ? 12 : 4);
    const title = linesOf("In words, without a number: they have no place on a scale", frame.right - 16, 2, 13);
    const [marks, bottom] = rowsOf(vague, from + 8 + 18 * title.length, frame, places, (row, at) => wordsOf(row, at, frame));
    content.push(draw("rect.band", { x: 0, y: from, width: frame.right, height: bottom - from }),
      draw("g.words", {}, title.map((part, index) => line(part, 8, from + 18 + 18 * index, "soft")), marks));
    y = bottom;
  }
  return [draw("g", {}, content), y];
}

const SAID_OF = {
  even: "The scale begins at zero",
  log: "Each step of the scale is ten times the one before",
};

function axisOf(axis, top, bottom) {
  return axis.ticks.map((tick) => [
    draw(`path.${tick === 0 && axis.kind === "even" ? "zero" : "grid"}`, { d: `M${axis.at(tick)},${top - 4}V${bottom}` }),
    line(short(tick), axis.at(tick), top - 10, "tick", "middle"),
  ]);
}

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", compactDisplay: "long", maximumSignificantDigits: 4 });
const short = (number) => (Math.abs(number) < 1e6 ? number.toLocaleString("en", { maximumSignificantDigits: 4 }) : COMPACT.format(number));

/** Draw rows one below the other, each group under its name. */
function rowsOf(rows, top, frame, places, mark) {
  const { isWide, isLow } = frame;
  let [y, group] = [top, null];
  const content = rows.map((row) => {
    const parts = [];
    const isFirst = row.group !== group;
    let height = frame.row;
    if (isFirst) {
      const lines = linesOf(row.group, isWide ? frame.labels - 8 : frame.right - 8, frame.lines, frame.group, 600, "--serif");
      if (group !== null) parts.push(draw("path.rule", { d: `M0,${y}H${frame.right}` }));
      lines.forEach((part, index) => parts.push(line(part, 8, y + (isLow && isWide ? frame.mark + 5 : 19) + LINE * index, "group")));
      // Beside the marks a name takes room of its own only from its second line on; above them, all of it.
      if (!isWide) y += LINE * lines.length + 2;
      else height += LINE * (lines.length - 1);
    }
    group = row.group;
    const at = y + height - frame.row + frame.mark;
    if (isWide && !isLow && row.note) parts.push(line(linesOf(row.note, frame.labels - 8, 1, 13)[0] ?? "", 8, at + 4, "soft"));
    const [shape, end] = mark(row, at);
    const title = draw("title", {}, plain([row.group, row.size, row.note].filter(Boolean).join(", ")));
    places.set(row.key, { y: at, end });
    y += height;
    return draw(`g.row${row.denied ? ".denied" : ""}${row.dim ? ".dim" : ""}`, { click: row.choose }, title,
      draw("rect.hit", { x: 0, y: at - frame.mark + 2, width: frame.right, height: frame.row - 2 }), parts, shape);
  });
  return [content, y + 6];
}

// --- the mark of a figure -----------------------------------------------------------------------

function markOf({ size, note, figure }, axis, y, frame) {
  const { lower_bound: lower, upper_bound: upper, value, qualifier, lower_open: isAbove, upper_open: isBelow } = figure;
  const [from, to] = [lower ?? value, upper ?? value].map((number) => (number === null || number === undefined ? null : axis.at(number)));
  const best = typeof value === "number" ? axis.at(value) : null;
  const ends = { from, to, best, isAbove, isBelow, left: frame.left, right: frame.right };
  const [shape, at, end, begin] = (GLYPHS[qualifier] ?? GLYPHS[`${from === null ? "" : "from"}${to === null ? "" : "to"}`])(ends, y);
  if (!frame.isLow) return [[shape, labelOf(size, frame.isWide ? null : note, frame).at(at - 5, y - 12)], end];
  return [[shape, besideMark([labelOf(size, note, frame), labelOf(size, null, frame)], { at, end, begin }, y, frame)], end];
}

/** Write the first label that has room behind the mark or before it; else the last, over the line that the mark draws. */
function besideMark(labels, { at, end, begin }, y, frame) {
  for (const label of labels) {
    if (end + 6 + label.width <= frame.right) return label.at(end + 6, y + 5);
    if (begin - 6 - label.width >= frame.left) return label.at(begin - 6 - label.width, y + 5);
  }
  const { width, at: put } = labels.at(-1);
  const start = at + 10 + width <= frame.right ? at + 10 : at - 10 - width;
  return [draw("rect.under", { x: start - 3, y: y - 8, width: width + 6, height: 16 }), put(start, y + 5)];
}

// Each gives the shape, the place of its words, where it ends, and where it begins.
const GLYPHS = {
  exact: ({ from: x }, y) => [dot(x, y), x, x + 6, x - 6],
  approximately: ({ best: x }, y) => [[draw("ellipse.halo", { cx: x, cy: y, rx: 20, ry: 7 }), dot(x, y)], x, x + 20, x - 20],
  approaching: ({ to: x, left }, y) => [[
    draw("path.wedge", { d: `M${Math.max(left, x - 46)},${y}L${x - 3},${y - 6}V${y + 6}Z` }),
    draw("path.bar", { d: `M${x},${y - 8}V${y + 8}` })], x, x + 3, x - 46],
  from: ({ from: x, isAbove, right }, y) => [[
    draw("path.reach", { d: `M${x},${y}H${right - 6}` }),
    draw("path.arrow", { d: `M${right - 11},${y - 5}L${right - 5},${y}L${right - 11},${y + 5}` }), dot(x, y, isAbove)], x, right, x - 6],
  to: ({ to: x, isBelow, left }, y) => [[
    draw("path.reach", { d: `M${x},${y}H${left + 1}` }),
    draw("path.arrow", { d: `M${left + 6},${y - 5}L${left},${y}L${left + 6},${y + 5}` }), dot(x, y, isBelow)], x, x + 6, left],
  fromto: ({ from, to, best }, y) => [[
    draw("path.span", { d: `M${from},${y}H${to}` }),
    draw("path.bar", { d: `M${from},${y - 7}V${y + 7}M${to},${y - 7}V${y + 7}` }), best === null ? null : dot(best, y)], from, to + 3, from - 3],
};

const dot = (x, y, isOpen = false) => draw(isOpen ? "circle.open" : "circle.dot", { cx: x, cy: y, r: 5.5 });

/** Write the size, and beside it the note where it has no column of its own; `at` puts both at a place. */
function labelOf(size, note, frame) {
  const room = frame.right - frame.left;
  const [bold = ""] = linesOf(size, room, 1, frame.size, 600);
  const wide = widthOf(bold, frame.size, 600);
  const [soft = ""] = note ? linesOf(` · ${note}`, Math.max(room - wide - 6, 0), 1, 13) : [];
  const isNoted = soft.length > 3;
  const width = wide + (isNoted ? widthOf(soft, 13) + 6 : 0);
  const at = (wanted, y) => {
    const x = Math.max(frame.left, Math.min(wanted, frame.right - width - 2));
    return [line(bold, x, y, "size"), isNoted ? line(soft, x + wide + 6, y, "soft") : null];
  };
  return { width, at };
}

function wordsOf({ size, note, reading }, y, frame) {
  const { isWide, isLow } = frame;
  const [quoted = ""] = linesOf(size, frame.right - frame.left - 8, 1, frame.vague, 400, "--serif");
  const said = [reading, isWide && !isLow ? null : note].filter(Boolean).join(" · ");
  const x = isWide ? frame.left : 8;
  const end = x + widthOf(quoted, frame.vague, 400, "--serif");
  const isBeside = isLow || end + 16 + widthOf(said, 13) < frame.right;
  const room = isBeside ? frame.right - end - 16 : frame.right - x - 8;
  const [beside = ""] = room < MIN_BESIDE ? [] : linesOf(said, room, 1, 13);
  return [[line(quoted, x, y + (isLow ? 5 : isBeside ? 0 : -12), "vague"), line(beside, isBeside ? end + 16 : x, y + (isLow ? 5 : isBeside ? 0 : 6), "soft")],
    isBeside ? end + (beside ? 16 + widthOf(beside, 13) : 0) : Math.max(end, x + widthOf(beside, 13))];
}

// --- conflicts ----------------------------------------------------------------------------------

/** Pair the figures that contradict each other; `lonely` are those whose other figure is not drawn. */
export function conflictsAmong(rows) {
  const keys = new Set(rows.map((row) => row.key));
  const [joined, lonely] = [new Map(), new Map()];
  for (const { key, conflicts } of rows) {
    for (const { other, basis } of conflicts) {
      if (keys.has(other)) joined.set([key, other].sort().join(" "), { key, other, basis });
      else lonely.set(key, { key, basis });
    }
  }
  return { joined: [...joined.values()].slice(0, MAX_JOINED), lonely: [...lonely.values()].slice(0, MAX_JOINED) };
}

// Lines run in a margin of their own, so that they also reach figures that have no place on the scale.
function joinedBy({ joined, lonely }, places, frame, height) {
  const x = frame.right + 6;
  const room = frame.width - x - 8;
  const ends = new Map();
  const arcs = joined.map(({ key, other, basis }) => {
    const [one, two] = [places.get(key), places.get(other)];
    for (const place of [one, two]) ends.set(place.y, place);
    const bulge = Math.min(room, room * (0.3 + Math.abs(one.y - two.y) / height)) * (4 / 3);
    return draw(`path.conflict.${basis}`, { d: `M${x},${one.y}C${x + bulge},${one.y} ${x + bulge},${two.y} ${x},${two.y}` });
  });
  const stubs = lonely.map(({ key, basis }) => {
    const place = places.get(key);
    ends.set(place.y, place);
    return [draw(`path.conflict.${basis}`, { d: `M${x},${place.y}h9` }), draw("circle.elsewhere", { cx: x + 13, cy: place.y, r: 4 })];
  });
  const leaders = [...ends.values()].map(({ y, end }) => [
    end + 6 < x ? draw("path.leader", { d: `M${end + 6},${y}H${x}` }) : null,
    draw("circle.joint", { cx: x, cy: y, r: 2.5 }),
  ]);
  return [leaders, arcs, stubs];
}

// --- the legend ---------------------------------------------------------------------------------

const HEDGES = {
  exact: "exactly", approximately: "about", at_least: "at least", more_than: "more than", at_most: "at most",
  fewer_than: "fewer than", approaching: "approaching", between: "between two numbers",
};
Object.assign(GLYPHS, { at_least: GLYPHS.from, more_than: GLYPHS.from, at_most: GLYPHS.to, fewer_than: GLYPHS.to, between: GLYPHS.fromto });

const SAMPLE = 44;

function legendOf(rows, pairs, frame) {
  const used = Object.keys(HEDGES).filter((hedge) => rows.some((row) => row.figure.qualifier === hedge));
  const samples = used.map((hedge) => [HEDGES[hedge], (x, y) => sampleOf(hedge, x, y)]);
  if (rows.some(({ figure }) => figure.qualifier === "between" && typeof figure.value === "number")) {
    samples.push(["the best value between", (x, y) => GLYPHS.fromto({ from: x, to: x + SAMPLE - 4, best: x + 26 }, y)[0]]);
  }
  if (rows.some((row) => row.denied)) samples.push(["in a response", (x, y) => draw("g.denied", {}, dot(x + 20, y))]);
  if (rows.some((row) => row.dim)) samples.push(["taken back or changed", (x, y) => draw("g.dim", {}, dot(x + 20, y))]);
  const bases = new Set([...pairs.joined, ...pairs.lonely].map((pair) => pair.basis));
  if (bases.has("stated")) samples.push(["an editor says: they contradict", (x, y) => draw("path.conflict.stated", { d: `M${x},${y}h${SAMPLE - 8}` })]);
  if (bases.has("computed")) samples.push(["by their numbers they contradict", (x, y) => draw("path.conflict.computed", { d: `M${x},${y}h${SAMPLE - 8}` })]);
  if (pairs.lonely.length) samples.push(["contradicts a figure that is not drawn", (x, y) => [draw("path.conflict.stated", { d: `M${x + 14},${y}h9` }), draw("circle.elsewhere", { cx: x + 27, cy: y, r: 4 })]]);
  let [x, y] = [0, 14];
  const content = samples.map(([text, sample]) => {
    const width = SAMPLE + 4 + widthOf(text, 13) + 20;
    if (x > 0 && x + width > frame.width) [x, y] = [0, y + 24];
    const item = [sample(x + 2, y), line(text, x + SAMPLE + 4, y + 5, "soft")];
    x += width;
    return item;
  });
  return [content, samples.length ? y + 26 : 4];
}

function sampleOf(hedge, x, y) {
  const [left, right] = [x, x + SAMPLE - 4];
  const places = { from: x + 6, to: right - 8, best: null };
  if (hedge === "exact" || hedge === "approximately") Object.assign(places, { from: x + 20, best: x + 20 });
  return GLYPHS[hedge]({ ...places, left, right, isAbove: hedge === "more_than", isBelow: hedge === "fewer_than" }, y)[0];
}

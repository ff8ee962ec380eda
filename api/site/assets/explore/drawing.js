// What every drawing needs: words that fit, a width to draw for, and a copy that can be saved.

import { draw, make } from "./page.js";

// --- words in a drawing -------------------------------------------------------------------------

const pen = document.createElement("canvas").getContext("2d");

/** Measure a text in pixels. */
export function widthOf(text, size, weight = 400, family = "--sans") {
  pen.font = `${weight} ${size}px ${getComputedStyle(document.documentElement).getPropertyValue(family)}`;
  return pen.measureText(text).width;
}

// In a drawing nothing holds the direction of a text in, so its own marks of direction go. No file in XML can
// hold the other control characters.
const CONTROLS = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]+/gu;
const MAX_LETTERS = 600;

/** Write a text as a drawing and a file of it can hold it. */
export const plain = (text) => text.replaceAll(CONTROLS, " ").toWellFormed().trim();

/** Break a text into at most so many lines of a width; what has no room becomes "…". */
export function linesOf(text, width, most, ...font) {
  const all = [...plain(text.slice(0, MAX_LETTERS))];
  const lines = [];
  while (all.length && lines.length < most) {
    let end = longestFitting(all, width, font);
    const space = all.lastIndexOf(" ", end);
    if (end < all.length && space > 0) end = space;
    if (end < all.length && lines.length === most - 1) end = Math.max(longestFitting(all, width - widthOf("…", ...font), font), 1);
    const isCut = end < all.length && lines.length === most - 1;
    lines.push(all.splice(0, end).join("").trim() + (isCut ? "…" : ""));
  }
  return lines;
}

function longestFitting(letters, width, font) {
  let [fits, fails] = [1, letters.length + 1];
  while (fails - fits > 1) {
    const middle = (fits + fails) >> 1;
    if (widthOf(letters.slice(0, middle).join(""), ...font) <= width) fits = middle;
    else fails = middle;
  }
  return fits;
}

/** Write one line at a place; a text from right to left keeps its own order, and stays at that place. */
export function line(text, x, y, kind, anchor = "start") {
  return draw(`text.${kind}`, { x, y, "text-anchor": anchor }, `\u2068${text}\u2069`);
}

// --- a drawing that follows the width -----------------------------------------------------------

/** Show a drawing, and draw it again when the width has changed. `ready` begins once it stands on the page. */
export function fitted(drawn) {
  const holder = make("div.drawing");
  let width = 0;
  const redraw = () => {
    if (holder.clientWidth === width || holder.clientWidth === 0) return;
    width = holder.clientWidth;
    holder.replaceChildren(drawn(width));
  };
  return { holder, ready: () => new ResizeObserver(redraw).observe(holder) };
}

// --- saving -------------------------------------------------------------------------------------

// The stylesheet gives a drawing its colours and its type. A file has to bring them itself.
const KEPT = [
  "fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity",
  "stroke-linejoin", "paint-order", "font-family", "font-size", "font-weight", "font-style",
];
const CREDIT = { line: 16, most: 3 };

/** A button that saves a drawing as a file, with a line that says where it is from. */
export function saveButton(holder, name, path) {
  return make("button.plain", { type: "button", click: () => save(holder.querySelector("svg"), name, path) }, "Save as SVG");
}

function save(svg, name, path) {
  const url = URL.createObjectURL(new Blob([standalone(svg, path)], { type: "image/svg+xml" }));
  make("a", { href: url, download: `${name}.svg` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function standalone(svg, path) {
  const copy = svg.cloneNode(true);
  const { width, height: bottom } = svg.viewBox.baseVal;
  const credits = linesOf(`claim-records: ${location.origin}${path}`, width - 16, CREDIT.most, 12);
  const height = bottom + CREDIT.line * (credits.length + 1);
  for (const [original, copied] of zipped(everything(svg), everything(copy))) {
    const style = getComputedStyle(original);
    for (const property of KEPT) copied.setAttribute(property, style.getPropertyValue(property));
    copied.removeAttribute("class");
  }
  const { backgroundColor, color } = getComputedStyle(document.body);
  copy.prepend(draw("rect", { width, height, fill: backgroundColor }));
  copy.append(...credits.map((text, index) => draw("text", {
    x: 8, y: bottom + CREDIT.line * (index + 1), fill: color, "font-family": "sans-serif", "font-size": 12,
  }, text)));
  for (const [attribute, value] of [["viewBox", `0 0 ${width} ${height}`], ["width", width], ["height", height]]) copy.setAttribute(attribute, value);
  return new XMLSerializer().serializeToString(copy);
}

const everything = (element) => [element, ...element.querySelectorAll("*")];
const zipped = (first, second) => first.map((each, index) => [each, second[index]]);

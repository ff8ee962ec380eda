// Build the parts of a page. The words of a record become text here, and never HTML: no module uses innerHTML,
// and the page's policy forbids it (`require-trusted-types-for`).

const SVG = "http://www.w3.org/2000/svg";
const SAFE_LINK = /^(https?:\/\/|\/|#|\?|blob:)/;

/**
 * Make an element: `make("a.name", { href: "/" }, "text", child)`. Attributes that are null, undefined or false
 * are left out, and so are such children; a function listens to the event of that name.
 */
export function make(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElement(name), classes, attributes, children);
}

/** Make an element of a drawing, in the same way. */
export function draw(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElementNS(SVG, name), classes, attributes, children);
}

function fill(element, classes, attributes, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    // A record may hold `javascript:…` where a URL is expected.
    else if (name !== "href" || SAFE_LINK.test(value)) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Show words of a record: in their own direction, so that marks of direction in them end with them. */
export function words(text, language = "und") {
  return make("bdi", { lang: language === "und" ? null : language }, text ?? "");
}

/** Put a separator between parts, such as ", ". */
export function joined(parts, separator) {
  return parts.flatMap((part, index) => (index ? [separator, part] : [part]));
}

/** Make a section of a page under a heading; nothing if it has no content. */
export function section(heading, ...children) {
  const content = children.flat(9).filter(Boolean);
  return content.length ? make("section", {}, make("h2", {}, heading), content) : null;
}

/** Write a number and its noun: "1 claim", "3 claims". */
export function counted(number, noun, plural = `${noun}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;
}

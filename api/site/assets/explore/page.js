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
  for (const child of children.flat(9)) { // one by one: there may be more than a call can have arguments
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** Show words of a record: in their own direction, whatever marks of direction they hold. */
export function words(text, language = "und") {
  return make("bdi", { lang: language === "und" ? null : language }, contained(text ?? ""));
}

/**
 * End all marks of direction (Unicode, UAX #9) where the text ends, and leave out what would end others. An open
 * one would turn what stands behind the text around, even behind a `<bdi>`.
 */
export function contained(text) {
  if (!/[\u202a-\u202e\u2066-\u2069]/.test(text)) return text;
  const open = [];
  const balanced = text.replace(/[\u202a-\u202e\u2066-\u2069]/g, (mark) => {
    if (mark === "\u202c") return open.at(-1) === mark ? open.pop() : "";
    if (mark !== "\u2069") {
      open.push(mark >= "\u2066" ? "\u2069" : "\u202c");
      return mark;
    }
    const begun = open.lastIndexOf(mark);
    if (begun < 0) return "";
    open.length = begun; // the end of an isolate ends what was opened in it
    return mark;
  });
  return balanced + open.reverse().join("");
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

/** Show what the API says about a request that it refused: the details, the faults, and how to find it in the log. */
export function problem({ detail, errors = [], request_id: request }) {
  return [
    detail && make("p.standfirst", {}, coded(detail)),
    errors.length > 0 && make("ul", {}, errors.map((each) => make("li", {}, make("code", {}, each.parameter ?? each.pointer ?? ""), ": ", coded(each.detail ?? "")))),
    request && make("p.aside", {}, "The service has logged this as ", make("code", {}, request), "."),
  ];
}

/** Show what stands between backticks as code, as the API means it. */
const coded = (text) => text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));

/** Show a problem as a part of a page whose form can be filled in differently. */
export function problemSection(document) {
  return make("section.problem", {}, make("h2", {}, document.title), problem(document));
}

/** Write a number and its noun: "1 claim", "3 claims". */
export function counted(number, noun, plural = `${noun}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;
}

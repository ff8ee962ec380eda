// Find chapters, operations, problems and schemas while the reader types, and lead there. Needs no server.
"use strict";

const input = document.getElementById("search");
const list = document.getElementById("found");
const count = document.getElementById("count");
const MAX_FOUND = 30;
const METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
const CHAPTER = "#/introduction/";
const MESSAGES = "#/webhook-messages";
const SCHEMAS = "#/schemas";

// Other words that developers use for an entry, by its title or operationId.
const ALSO_CALLED = {
  "Lists": ["pagination", "paging", "cursor", "filtering", "sorting", "query parameters"],
  "Changing records": ["etag", "if-match", "idempotency", "retry", "concurrency", "optimistic locking", "headers", "upsert"],
  "Errors": ["validation", "status codes", "ratelimit", "exceptions"],
  "Keys": ["authorization", "authentication", "authorize", "bearer", "token", "api key", "login"],
  "HTTP": ["versioning", "deprecation"],
  "export": ["dump", "backup", "bulk", "ndjson"],
  "import": ["bulk", "batch", "ndjson", "upload"],
  "webhooks": ["callbacks", "push"],
  "streamChanges": ["sse", "server-sent events", "eventsource"],
};

let entries = [];
let found = [];
let chosen = -1;

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// --- the entries --------------------------------------------------------------------------------

/** List every part of a document that has an address, in the order of results that rank alike. */
function index(spec) {
  const all = [
    ...chapters(spec.info.description ?? ""),
    ...(spec.tags ?? []).map(section),
    { kind: "section", title: "webhook messages", detail: "What a webhook receives.", hash: MESSAGES },
    ...problems(spec),
    ...operations(spec, spec.paths),
    ...operations(spec, spec.webhooks ?? {}),
    { kind: "section", title: "schemas", detail: "What records and answers are made of.", hash: SCHEMAS },
    ...Object.entries(spec.components?.schemas ?? {}).map(schema),
  ];
  return all.map((entry) => ({
    ...entry,
    names: [entry.title, entry.id ?? "", ...(ALSO_CALLED[entry.id ?? entry.title] ?? [])].map((name) => name.toLowerCase()),
    near: [entry.title, spaced(entry.id ?? ""), spaced(entry.title), entry.detail].join(" ").toLowerCase(),
    terms: (entry.terms ?? []).join(" ").toLowerCase(),
    far: (entry.far ?? "").toLowerCase(),
  }));
}

/** Follow a reference within the document; return anything else as it is. */
function resolved(spec, node) {
  if (!node?.$ref) return node ?? {};
  return node.$ref.slice(2).split("/").reduce((place, name) => place[name.replaceAll("~1", "/").replaceAll("~0", "~")], spec);
}

const spaced = (name) => name.replace(/([a-z])([A-Z])/g, "$1 $2");
const slug = (title) => title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
const firstSentence = (markdown) => markdown.split(/(?<=[.:?])\s/, 1)[0].replaceAll("`", "");

/** The chapters of the introduction: each `## heading` and the text below it. */
function chapters(markdown) {
  return markdown.split(/^## /m).slice(1).map((chapter) => {
    const [title, ...lines] = chapter.split("\n");
    const text = lines.join("\n").trim();
    return { kind: "chapter", title, detail: text.split(/(?<=[.?])\s/, 1)[0].replace(/^- |[*`]/g, ""), hash: CHAPTER + slug(title), terms: [text] };
  });
}

function section({ name, description = "" }) {
  return { kind: "section", title: name, detail: firstSentence(description), hash: `#/${encodeURIComponent(name)}`, terms: [description] };
}

/** The problems for which the document has an example, each once. */
function problems(spec) {
  const examples = Object.values(spec.components?.examples ?? {}).map((example) => example.value);
  const byCode = new Map(examples.filter((value) => value?.code && value.status).map((value) => [value.code, value]));
  return [...byCode.values()].map(({ code, status, title, detail }) => ({
    kind: "problem", title: code, detail: `${status}: ${title}`, hash: "#/problems/getProblem", far: detail,
  }));
}

function operations(spec, paths) {
  return Object.entries(paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => operation(spec, path, method, item[method])));
}

function operation(spec, path, method, { operationId, summary, description, parameters, requestBody, responses, tags }) {
  const answers = Object.entries(responses ?? {}).map(([status, answer]) => [status, resolved(spec, answer)]);
  const bodies = [resolved(spec, requestBody), ...answers.map(([, answer]) => answer)].flatMap(({ content }) => Object.entries(content ?? {}));
  const examples = bodies.flatMap(([, body]) => Object.values(body.examples ?? {}));
  return {
    kind: method, title: path, detail: summary ?? "", id: operationId,
    hash: `#/${encodeURIComponent(tags[0])}/${encodeURIComponent(operationId)}`,
    terms: [
      ...(parameters ?? []).map((parameter) => resolved(spec, parameter).name),
      ...answers.flatMap(([status, { headers }]) => [status, ...Object.keys(headers ?? {})]),
      ...bodies.map(([mediaType]) => mediaType),
      ...examples.map((example) => resolved(spec, example).value?.code),
    ],
    far: description,
  };
}

function schema([name, { description = "", properties = {} }]) {
  const texts = Object.values(properties).map((property) => property.description ?? "");
  return { kind: "schema", title: name, detail: firstSentence(description), hash: `${SCHEMAS}/${name}`, terms: Object.keys(properties), far: [description, ...texts].join(" ") };
}

/** Tell whether a text has every word: at the beginning of a word, or also inside one. */
function has(text, words, isInside) {
  return words.every((word) => {
    for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
      if (isInside || at === 0 || !/[a-z0-9]/.test(text[at - 1])) return true;
    }
    return false;
  });
}

/** Rank an entry by the place of the words: its names, its visible text, its terms, its description; null if nowhere. */
function rank({ title, kind, names, near, terms, far }, query, words) {
  const wanted = query.toLowerCase();
  if (title === query) return 0;
  // Most readers look for a section or an operation, not for the schema with the same name.
  if (kind !== "schema" && names.includes(wanted)) return 1;
  if (kind !== "schema" && names.some((name) => name.startsWith(wanted))) return 2;
  const texts = [near, `${near} ${terms}`, `${near} ${terms} ${far}`];
  const begins = texts.findIndex((text) => has(text, words, false));
  if (begins >= 0) return 3 + begins;
  return has(texts[2], words, true) ? 6 : null;
}

function search(typed) {
  const query = typed.trim();
  if (!query) return entries.filter((entry) => isPlace(entry));
  const words = query.toLowerCase().split(/\s+/);
  return entries
    .map((entry) => ({ entry, rank: rank(entry, query, words) }))
    .filter((each) => each.rank !== null)
    .sort((a, b) => a.rank - b.rank)
    .map((each) => each.entry);
}

const isPlace = ({ kind }) => kind === "chapter" || kind === "section";

// --- the results --------------------------------------------------------------------------------

function option(entry, position) {
  const isOperation = METHODS.includes(entry.kind);
  const kind = make("span", `kind ${isOperation ? `method ${entry.kind}` : ""}`, entry.kind);
  const element = make("li", "", kind, make("span", isOperation ? "path" : "", entry.title), make("span", "detail", entry.detail));
  element.id = `found-${position}`;
  element.role = "option";
  element.ariaSelected = "false";
  return element;
}

function show() {
  const all = search(input.value);
  found = all.slice(0, MAX_FOUND);
  list.replaceChildren(...found.map(option));
  if (found.length === 0) list.append(make("li", "none", "Nothing is called that."));
  list.hidden = false;
  input.ariaExpanded = "true";
  count.textContent = input.value.trim() ? `${all.length} found` : "";
  choose(input.value.trim() && found.length ? 0 : -1);
}

function hide() {
  list.hidden = true;
  input.ariaExpanded = "false";
  input.removeAttribute("aria-activedescendant");
}

function choose(position) {
  list.children[chosen]?.setAttribute("aria-selected", "false");
  chosen = position;
  if (chosen < 0) return input.removeAttribute("aria-activedescendant");
  const element = list.children[chosen];
  element.ariaSelected = "true";
  element.scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-activedescendant", element.id);
}

// --- going there --------------------------------------------------------------------------------

function go({ hash }) {
  hide();
  input.blur();
  remember(hash);
  return arrive(hash);
}

/** Open the part that a fragment names, scroll to it, and move the focus there. */
async function arrive(hash) {
  if (!hash.startsWith("#/")) return;
  const element = hash.startsWith(CHAPTER) ? document.getElementById(hash.slice(1)) : await opened(hash);
  // The reader has gone to another part meanwhile.
  if (!element || location.hash !== hash) return;
  const control = element.matches("h2, h3") ? element : element.querySelector("button");
  if (control === element) element.tabIndex = -1;
  element.scrollIntoView();
  control?.focus({ preventScroll: true });
}

/** Open the part that a fragment names, and return its element once the page has it. */
async function opened(hash) {
  const { show } = (await window.docs).getSystem().layoutActions;
  if (hash === MESSAGES) return appears(() => document.getElementById("webhook-messages"));
  const [tag, id] = hash.slice(2).split("/").map(decodeURIComponent);
  if (hash === SCHEMAS || hash.startsWith(`${SCHEMAS}/`)) {
    show(["components", "schemas"], true);
    return id ? openedSchema(id) : appears(() => document.querySelector(".models"));
  }
  show(["operations-tag", tag], true);
  if (id) show(["operations", tag, id], true);
  return appears(() => document.getElementById(id ? `operations-${tag}-${id}` : `operations-tag-${tag}`));
}

async function openedSchema(name) {
  const element = await appears(() => [...document.querySelectorAll(".models article[data-json-schema-level='0']")]
    .find((article) => article.querySelector(".json-schema-2020-12__title")?.textContent === name));
  const control = element?.querySelector(".json-schema-2020-12-accordion");
  if (control?.getAttribute("aria-expanded") === "false") control.click();
  return element;
}

/** Wait until the page has an element. */
async function appears(look) {
  for (let frame = 0; frame < 300; frame += 1) {
    const element = look();
    if (element) return element;
    await new Promise(requestAnimationFrame);
  }
  return null;
}

/** Follow the links of the page to places on it, also to the one where the reader is already. */
function onLink(event) {
  const hash = event.target.closest?.("#sections a, #list a")?.getAttribute("href");
  if (!hash?.startsWith("#/") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ hash });
}

// --- the keyboard -------------------------------------------------------------------------------

const MOVES = { ArrowDown: 1, ArrowUp: -1 };

function onKey(event) {
  if (event.key in MOVES && found.length) {
    event.preventDefault();
    choose((chosen + MOVES[event.key] + found.length) % found.length);
  } else if (event.key === "Enter" && found[chosen]) {
    event.preventDefault();
    go(found[chosen]);
  } else if (event.key === "Escape") {
    hide();
    input.value = "";
    input.blur();
  }
}

function onSlash(event) {
  const isTyping = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  input.focus();
  input.select();
}

async function start() {
  document.addEventListener("click", onLink);
  document.addEventListener("keydown", onSlash);
  window.addEventListener("hashchange", () => arrive(location.hash));
  arrive(location.hash);
  entries = index(await window.described);
  input.disabled = false;
  input.addEventListener("focus", show);
  input.addEventListener("input", show);
  input.addEventListener("blur", () => hide());
  input.addEventListener("keydown", onKey);
  // Before the field loses the focus, which would close the list.
  list.addEventListener("mousedown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const position = [...list.children].indexOf(event.target.closest("li"));
    if (found[position]) go(found[position]);
  });
}

start();

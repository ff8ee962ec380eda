// Find operations and schemas as one types, go there, and list the sections. Needs no server.
"use strict";

const input = document.getElementById("search");
const list = document.getElementById("found");
const count = document.getElementById("count");
const sections = document.getElementById("sections");
const MOST_FOUND = 30;
const METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

let entries = [];
let found = [];
let chosen = -1;

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// --- what can be found --------------------------------------------------------------------------

/** List everything of a document that can be gone to; `more` is what is found last. */
function index(spec) {
  const tags = (spec.tags ?? []).map(({ name, description }) => ({
    kind: "section", title: name, detail: firstSentence(description ?? ""), hash: `#/${encodeURIComponent(name)}`, more: description ?? "",
  }));
  const operations = Object.entries(spec.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => operation(path, method, item[method])));
  const schemas = Object.keys(spec.components?.schemas ?? {}).map((name, position) => ({
    kind: "schema", title: name, detail: "", position, more: spec.components.schemas[name].description ?? "",
  }));
  return [...tags, ...operations, ...schemas].map((entry) => ({
    ...entry,
    near: `${entry.title} ${entry.id ?? ""} ${entry.kind === "section" ? "" : entry.detail}`.toLowerCase(),
    far: entry.more.toLowerCase(),
  }));
}

function firstSentence(markdown) {
  return markdown.split(/(?<=[.:?])\s/, 1)[0].replaceAll("`", "");
}

function operation(path, method, { operationId, summary, description, parameters, tags }) {
  const names = (parameters ?? []).map((parameter) => parameter.name ?? "");
  return {
    kind: method, title: path, detail: summary ?? "", id: operationId,
    hash: `#/${encodeURIComponent(tags[0])}/${encodeURIComponent(operationId)}`,
    more: [description, ...names].join(" "),
  };
}

/** Rank an entry: the name itself, its beginning, what one sees of it, what it says; null if not found. */
function rank(entry, query, words) {
  const names = [entry.title, entry.id ?? ""].map((name) => name.toLowerCase());
  if (names.includes(query)) return 0;
  if (names.some((name) => name.startsWith(query))) return 1;
  if (words.every((word) => entry.near.includes(word))) return entry.kind === "schema" ? 3 : 2;
  if (words.every((word) => entry.near.includes(word) || entry.far.includes(word))) return 4;
  return null;
}

function search(query) {
  const wanted = query.trim().toLowerCase();
  const words = wanted.split(/\s+/);
  if (!wanted) return entries.filter((entry) => entry.kind === "section");
  return entries
    .map((entry) => ({ entry, rank: rank(entry, wanted, words) }))
    .filter((each) => each.rank !== null)
    .sort((a, b) => a.rank - b.rank)
    .map((each) => each.entry);
}

// --- what was found -----------------------------------------------------------------------------

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
  found = all.slice(0, MOST_FOUND);
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

function go(ui, entry) {
  hide();
  input.blur();
  if (entry.kind === "schema") return openSchema(ui, entry.position);
  if (location.hash !== entry.hash) history.pushState(null, "", entry.hash);
  return arrive(ui, entry.hash);
}

/** Open what a fragment names and bring it into view, which Swagger UI does as a page loads only. */
async function arrive(ui, hash) {
  const { layoutActions } = ui.getSystem();
  const [tag, id] = hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
  layoutActions.parseDeepLinkHash(hash);
  layoutActions.clearScrollTo();
  const element = await appears(`#${CSS.escape(id ? `operations-${tag}-${id}` : `operations-tag-${tag}`)}`);
  if (!element) return;
  element.scrollIntoView();
  element.querySelector("button")?.focus({ preventScroll: true });
}

/** Wait until the page has what a selector names. */
async function appears(selector) {
  for (let frame = 0; frame < 300; frame += 1) {
    const element = document.querySelector(selector);
    if (element) return element;
    await new Promise(requestAnimationFrame);
  }
  return null;
}

async function openSchema(ui, position) {
  ui.getSystem().layoutActions.show(["components", "schemas"], true);
  const all = await appears(".models .ReactCollapse--content, .models .json-schema-2020-12");
  const element = all && (await appears(`.models [data-index="${position}"] .json-schema-2020-12`)
    ?? document.querySelectorAll(".models article.json-schema-2020-12")[position]);
  if (!element) return;
  const control = element.querySelector(".json-schema-2020-12-accordion");
  if (control?.getAttribute("aria-expanded") !== "true") control?.click();
  element.scrollIntoView();
}

function listSections(ui) {
  const links = entries.filter((entry) => entry.kind === "section").map((entry) => {
    const link = make("a", "", entry.title);
    link.href = entry.hash;
    return link;
  });
  const schemas = make("a", "", "schemas");
  schemas.href = "#/schemas";
  sections.replaceChildren(...links, schemas);
  sections.addEventListener("click", (event) => {
    const entry = entries.find((each) => each.hash && each.hash === event.target.getAttribute?.("href"));
    if (!entry && event.target !== schemas) return;
    event.preventDefault();
    if (entry) return go(ui, entry);
    ui.getSystem().layoutActions.show(["components", "schemas"], true);
    document.querySelector(".models")?.scrollIntoView();
  });
}

// --- the keyboard -------------------------------------------------------------------------------

const MOVES = { ArrowDown: 1, ArrowUp: -1 };

function onKey(ui, event) {
  if (event.key in MOVES && found.length) {
    event.preventDefault();
    choose((chosen + MOVES[event.key] + found.length) % found.length);
  } else if (event.key === "Enter" && found[chosen]) {
    event.preventDefault();
    go(ui, found[chosen]);
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
  const ui = await window.docs;
  entries = index(ui.getSystem().specSelectors.specJson().toJS());
  listSections(ui);
  input.disabled = false;
  input.addEventListener("focus", show);
  input.addEventListener("input", show);
  input.addEventListener("blur", () => hide());
  input.addEventListener("keydown", (event) => onKey(ui, event));
  // Before the field loses its focus, which would take the list away.
  list.addEventListener("mousedown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const position = [...list.children].indexOf(event.target.closest("li"));
    if (found[position]) go(ui, found[position]);
  });
  document.addEventListener("keydown", onSlash);
  window.addEventListener("hashchange", () => arrive(ui, location.hash));
}

start();

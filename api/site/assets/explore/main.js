// Start here: find the view for an address, show what it returns, and follow the links between views.
//
// A view is a module whose default function takes { api, type, id, query }, asks the API, and returns
// { title, content, ready? }: the page's title, its elements, and what to do once they stand on the page.

import { Api, Problem, curl, hasKey, unanswered, useKey } from "./api.js";
import { make, problem } from "./page.js";

// The views by the first part of the address: of the whole list, of one record (`one`), and of its history (`history`).
const VIEWS = {
  "": { all: "./front.js" },
  articles: { all: "./list.js", one: "./article.js", history: "./history.js" },
  claims: { all: "./list.js", one: "./claim.js", history: "./history.js" },
  denials: { all: "./list.js", one: "./claim.js", history: "./history.js" },
  sources: { all: "./list.js", one: "./source.js", history: "./history.js" },
  match: { all: "./match.js" },
  figures: { all: "./figures.js" },
  groups: { all: "./groups.js" },
};

const content = document.getElementById("content");
const waiting = document.getElementById("waiting");
const dialog = document.getElementById("key");
let api = new Api();
let shownAddress = null;

// --- showing a page -----------------------------------------------------------------------------

/** If a page takes longer than this, in milliseconds, the reader is told. */
const SLOW = 500;

/** Show the page of the address bar; `top` and `link` say where the reader was on it, if they come back. */
async function open({ top = 0, link = null } = {}) {
  api.stop();
  const asked = document.getElementById("asked");
  const here = (api = new Api((request) => here === api && asked.append(requestLine(request))));
  asked.replaceChildren();
  const isFirst = shownAddress === null;
  shownAddress = location.pathname + location.search;
  content.setAttribute("aria-busy", "true");
  const slow = setTimeout(() => here === api && (waiting.textContent = "Reading the records …"), SLOW);
  const page = await view(here);
  clearTimeout(slow);
  if (here !== api) return; // the reader has gone on meanwhile
  waiting.textContent = "";
  document.title = `${page.title} · claim-records`;
  content.replaceChildren(...page.content.flat(9).filter(Boolean));
  content.setAttribute("aria-busy", "false");
  for (const link of document.querySelectorAll("#places a")) {
    const isHere = location.pathname === link.pathname || location.pathname.startsWith(`${link.pathname}/`);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const followed = link && [...content.querySelectorAll("a")].find((each) => each.getAttribute("href") === link);
  if (!isFirst) (followed || content).focus({ preventScroll: true });
  scrollTo({ top, behavior: "instant" });
  page.ready?.();
}

async function view(api) {
  const [, , type = "", id, part] = location.pathname.split("/");
  const address = VIEWS[type]?.[part ?? (id ? "one" : "all")];
  try {
    if (!address) throw new Problem({ status: 404, title: "There is no such page.", detail: "The links above lead to all pages." });
    const { default: show } = await import(address).catch(unanswered);
    return await show({ api, type, id, query: new URLSearchParams(location.search) });
  } catch (error) {
    return failure(error);
  }
}

/** Show what went wrong in the words of the problem. */
function failure(error) {
  if (!(error instanceof Problem)) console.error(error);
  const document = error instanceof Problem ? error.document : { title: "This page has failed.", detail: String(error) };
  const choice = (text, click) => make("button.plain", { type: "button", click }, text);
  const isRefused = document.code === "unauthorized";
  return {
    title: document.title,
    content: [
      make("h1", {}, document.title), problem(document),
      make("p.buttons", {},
        isRefused && choice("Enter a key", () => dialog.showModal()),
        isRefused && hasKey() && choice("Go on without a key", () => keyChanged(null)),
        (!document.status || document.status === 429 || document.status >= 500) && choice("Try again", () => open())),
    ],
  };
}

/** Say what the page asked the API, and offer the same request as a command. */
function requestLine(request) {
  const command = make("code", { tabindex: "0" }, curl(request));
  const details = make("details", {},
    make("summary", {}, make("code", {}, `${request.method} `, ...request.path.split(/(?=[?&])/).flatMap((piece) => [make("wbr"), piece]))),
    make("pre", {}, command));
  const copy = make("button.plain", { type: "button", click: () => copied(copy, command, details) }, "Copy as curl");
  return make("li", {}, details,
    request.method === "GET" && make("a", { href: request.path, target: "_blank", rel: "noreferrer" }, "JSON"), copy);
}

async function copied(button, text, details) {
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch { // not over plain HTTP, and not where the reader forbids it
    details.open = true;
    getSelection().selectAllChildren(text);
    button.textContent = "Selected: copy it with your keyboard";
  }
}

// --- going from page to page --------------------------------------------------------------------

// The key lives as long as the document does, so a link to another view must not load a new document.
function go(address, link = null) {
  history.replaceState({ top: scrollY, link }, "");
  history.pushState(null, "", address);
  open();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  const isOurs = link && link.origin === location.origin && /^\/explore(\/|$)/.test(link.pathname) && !link.hasAttribute("download");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!isOurs || !isPlain || event.defaultPrevented || link.getAttribute("href").startsWith("#")) return;
  event.preventDefault();
  go(link.href, link.getAttribute("href"));
});

// A form of a view leads to its address with what was filled in, as forms do without a script.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method === "dialog" || event.defaultPrevented) return;
  event.preventDefault();
  const filled = [...new FormData(form)].filter(([, value]) => value !== "");
  const query = new URLSearchParams(filled).toString();
  go(form.getAttribute("action") + (query && `?${query}`));
});

addEventListener("popstate", (event) => {
  if (location.pathname + location.search !== shownAddress) open(event.state ?? {});
});

// --- the key ------------------------------------------------------------------------------------

const refusal = document.getElementById("key-problem");

/** Take the key that was entered; no header of a request could carry other characters than these. */
function enterKey(event) {
  const secret = dialog.querySelector("input").value.trim();
  const isKey = /^[\x21-\x7e]*$/.test(secret);
  refusal.textContent = isKey ? "" : "This is not a key: a key has no blanks and no letters with accents or of other scripts. Copy it again.";
  if (isKey) keyChanged(secret);
  else event.preventDefault();
}

function keyChanged(secret) {
  useKey(secret);
  dialog.querySelector("input").value = "";
  dialog.close();
  document.getElementById("open-key").textContent = hasKey() ? "Key in use" : "Use a key";
  document.getElementById("forget-key").hidden = !hasKey();
  open();
}

document.getElementById("open-key").addEventListener("click", () => dialog.showModal());
document.getElementById("forget-key").addEventListener("click", () => keyChanged(null));
document.getElementById("close-key").addEventListener("click", () => dialog.close());
dialog.querySelector("form").addEventListener("submit", enterKey);

history.scrollRestoration = "manual";
open();

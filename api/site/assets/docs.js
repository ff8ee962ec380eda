// Start Swagger UI over our own OpenAPI document, in the reader's colour scheme, and mend what it lacks.
"use strict";

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const applyScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyScheme);
applyScheme();

// --- answers that never end, or are very long -------------------------------------------------

const STREAM_SECONDS = 5;
const MOST_BYTES = 200_000;

/** Ask as fetch does; of a stream and of lines take what comes first, so that the page never hangs. */
async function ask(url, request) {
  const stopping = new AbortController();
  const answer = await fetch(url, { ...request, signal: stopping.signal });
  const kind = answer.headers.get("content-type") ?? "";
  if (!/event-stream|ndjson/.test(kind) || !answer.body) return answer;
  const text = await beginning(answer.body.getReader(), kind.includes("event-stream"));
  stopping.abort();
  return new Response(text, { status: answer.status, statusText: answer.statusText, headers: answer.headers });
}

/** Read until the end, the limit, or for a stream the time: whichever comes first. */
async function beginning(reader, isStream) {
  const decoder = new TextDecoder();
  const late = new Promise((resolve) => {
    if (isStream) setTimeout(resolve, STREAM_SECONDS * 1000, { late: true });
  });
  let text = "";
  while (text.length < MOST_BYTES) {
    const { done, value, late: isLate } = await Promise.race([reader.read(), late]);
    if (done) return text;
    if (isLate) return `${text}\n: This page listened for ${STREAM_SECONDS} seconds. The stream itself goes on.\n`;
    text += decoder.decode(value, { stream: true });
  }
  return `${text.slice(0, MOST_BYTES)}\n… This page shows the beginning. The answer itself goes on.\n`;
}

// --- Swagger UI -------------------------------------------------------------------------------

/** Scroll as the stylesheet says (scroll-margin), and put plain text where a link would stand in a button. */
const mended = ({ React }) => ({
  wrapComponents: { DeepLink: () => ({ text }) => React.createElement("span", null, text) },
  statePlugins: {
    layout: {
      wrapActions: {
        scrollToElement: () => (element) => requestAnimationFrame(() => element.scrollIntoView()),
      },
    },
  },
});

window.docs = new Promise((resolve) => {
  const ui = window.SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelRendering: "example",
    plugins: [mended],
    requestInterceptor: (request) => Object.assign(request, { userFetch: ask }),
    // By default it would send the document to a validator on another host.
    validatorUrl: null,
    onComplete: () => resolve(ui),
  });
});

// --- names for what has none, a way in by keyboard ---------------------------------------------

const LABELS = [
  ["tr[data-param-name] :is(input, select, textarea):not([aria-label])", (e) => e.closest("tr").dataset.paramName],
  [".body-param textarea:not([aria-label])", () => "Request body"],
  ["select:not([aria-label], [id])", (e) => e.closest(".content-type-wrapper, .body-param-content-type, .response-controls, .examples-select") ? "Media type or example" : "Choice"],
  ['#auth-bearer-value[aria-label="auth-bearer-value"]', () => "Key"],
  [".close-modal:not([aria-label])", () => "Close"],
  ['.auth-btn-wrapper [aria-label$=" credentials"]', (e) => e.textContent],
  ["pre:not([tabindex])", null],
];

function mend() {
  for (const [selector, label] of LABELS) {
    for (const element of document.querySelectorAll(`.swagger-ui ${selector}`)) {
      if (label) element.setAttribute("aria-label", label(element));
      else element.tabIndex = element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight ? 0 : -1;
    }
  }
}

let due = false;
new MutationObserver(() => {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    mend();
  });
}).observe(document.getElementById("docs"), { childList: true, subtree: true });

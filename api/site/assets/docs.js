// Start Swagger UI on our OpenAPI document once the page can be read, in the reader's colour scheme, and
// repair its weak points.
"use strict";

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const applyScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyScheme);
applyScheme();

// --- answers that never end, or are very long -------------------------------------------------

const STREAM_SECONDS = 5;
const MAX_BYTES = 200_000;

/** Like fetch, but read only the beginning of a stream or of lines, so that the page never hangs. */
async function ask(url, request) {
  const stopping = new AbortController();
  const answer = await fetch(url, { ...request, signal: stopping.signal });
  const kind = answer.headers.get("content-type") ?? "";
  if (!/event-stream|ndjson/.test(kind) || !answer.body) return answer;
  const text = await beginning(answer.body.getReader(), kind.includes("event-stream"));
  stopping.abort();
  return new Response(text, { status: answer.status, statusText: answer.statusText, headers: answer.headers });
}

/** Read up to the end or the limit; a stream also for at most STREAM_SECONDS after its first piece. */
async function beginning(reader, isStream) {
  const decoder = new TextDecoder();
  let late = new Promise(() => {});
  let text = "";
  while (text.length < MAX_BYTES) {
    const { done, value, late: isLate } = await Promise.race([reader.read(), late]);
    if (done) return text;
    if (isLate) return `${text}\n: This page listened for ${STREAM_SECONDS} seconds. The stream itself goes on.\n`;
    if (isStream && !text) late = new Promise((resolve) => setTimeout(resolve, STREAM_SECONDS * 1000, { late: true }));
    text += decoder.decode(value, { stream: true });
  }
  return `${text.slice(0, MAX_BYTES)}\n… This page shows the beginning. The answer itself goes on.\n`;
}

// --- references -------------------------------------------------------------------------------

// Swagger UI's own resolver reads the whole document each time, which takes seconds.

/** Look up a place in the document, such as `["components", "schemas", "Claim"]`. */
const lookUp = (root, path) => path.reduce((node, name) => node?.[name], root);

/** Make a function that replaces the references in a part of a document by what they name, and does each once. */
function resolver(root) {
  const done = new Map();

  function named(reference, above) {
    if (!done.has(reference)) {
      const path = reference.slice(2).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
      done.set(reference, { ...whole(lookUp(root, path), [...above, reference]), $$ref: reference });
    }
    return done.get(reference);
  }

  function whole(node, above) {
    if (Array.isArray(node)) return node.map((item) => whole(item, above));
    if (!node || typeof node !== "object") return node;
    const { $ref: reference, ...own } = node;
    if (typeof reference === "string") {
      if (above.includes(reference)) return { type: "object", title: reference.split("/").at(-1), description: "See above." };
      return { ...named(reference, above), ...own };
    }
    const resolved = Object.fromEntries(Object.entries(node).map(([name, value]) => [name, whole(value, above)]));
    return Array.isArray(resolved.allOf) ? joined(resolved) : resolved;
  }

  return (path) => whole(lookUp(root, path), []);
}

/** Make one schema of those that hold together. */
function joined({ allOf, ...own }) {
  const parts = [...allOf, own];
  return Object.assign({}, ...parts, {
    properties: Object.assign({}, ...parts.map((part) => part.properties)),
    required: parts.flatMap((part) => part.required ?? []),
  });
}

// --- Swagger UI -------------------------------------------------------------------------------

// Every answer has these headers. The page shows them behind one line instead of in each table.
const COMMON_HEADERS = new Set([
  "X-Request-Id", "Cache-Control", "X-Content-Type-Options", "Referrer-Policy", "Content-Security-Policy",
  "RateLimit-Policy", "RateLimit", "Access-Control-Allow-Origin",
]);

/** Write the address of the shown part into the URL, as one step of the history. */
function remember(hash) {
  if (location.hash !== hash) history.pushState(null, "", hash);
}

/** The address of an open operation or schema: `#/tag/operation`, `#/schemas/name`. */
function addressOf([kind, ...names]) {
  return ["operations", "components"].includes(kind) && names.length === 2 ? `#/${names.map(encodeURIComponent).join("/")}` : null;
}

/** The codes of the problems behind a failure, or the first line of its description. */
function gist(description) {
  const codes = [...description.matchAll(/^- `([a-z-]+)`/gm)].map((match) => match[1]);
  return codes.join(", ") || description.split("\n", 1)[0].replaceAll("`", "");
}

/** Remove from a schema the keywords that its format implies. */
function plain(schema) {
  if (!schema?.format) return schema;
  const { pattern, ...rest } = schema;
  return /^(uuid|date)/.test(schema.format) ? { ...rest, minLength: undefined, maxLength: undefined } : rest;
}

/** The components of Swagger UI that are wrapped or replaced here, because they are hard to use. */
const components = ({ React }) => {
  const h = React.createElement;
  return {
    // Plain text: nobody can use a link inside a button.
    DeepLink: () => ({ text }) => h("span", null, text),

    // The page itself has the introduction.
    InfoContainer: () => () => null,

    // The button stands in the side column; Swagger UI would put it below the whole introduction.
    authorizeBtn: () => function Authorize({ onClick, isAuthorized, showPopup, getComponent }) {
      const wasShown = React.useRef(false);
      React.useEffect(() => {
        const button = document.getElementById("authorize");
        button.onclick = onClick;
        button.disabled = false;
        button.textContent = isAuthorized ? "Authorized" : "Authorize";
        if (wasShown.current && !showPopup) button.focus();
        wasShown.current = showPopup;
      });
      return h("div", { className: "auth-wrapper" }, showPopup && h(getComponent("authorizationPopup", true)));
    },

    Input: (Original) => (props) => h(Original, props.id === "auth-bearer-value"
      ? { ...props, type: "password", autoComplete: "off", "aria-label": "Key" } : props),

    headers: (Original) => ({ headers, ...props }) => {
      const [own, common] = [false, true].map((isCommon) => headers.filter((_, name) => COMMON_HEADERS.has(name) === isCommon));
      return h(React.Fragment, null, h(Original, { ...props, headers: own }), common.size > 0
        && h("details", null, h("summary", null, "Headers of every answer"), h(Original, { ...props, headers: common })));
    },

    // A failure takes one line until the reader opens it.
    response: (Original) => function Response(props) {
      const [isOpen, setOpen] = React.useState(false);
      const { code, response } = props;
      if (!/^[45]/.test(code) || !response.get("content")) return h(Original, props);
      const button = h("button", { type: "button", "aria-expanded": isOpen, onClick: () => setOpen(!isOpen) }, gist(response.get("description") ?? ""));
      const line = h("tr", { className: "response failure" },
        h("td", { className: "response-col_status" }, code), h("td", { className: "response-col_description", colSpan: 2 }, button));
      return h(React.Fragment, null, line, isOpen && h(Original, props));
    },

    operationLink: (_, { specSelectors }) => ({ link }) => {
      const id = link.get("operationId");
      const tag = specSelectors.operations().find((each) => each.getIn(["operation", "operationId"]) === id)?.getIn(["operation", "tags", 0]);
      const values = link.get("parameters")?.toJS() ?? {};
      return h("p", { className: "operation-link" }, h("a", { href: addressOf(["operations", tag, id]) }, id),
        ...Object.entries(values).flatMap(([name, value]) => [", ", name.replace(/^\w+\./, ""), " from ", h("code", null, value)]));
    },

    // The page itself is the main part; Swagger UI would make a second one in it.
    VersionPragmaFilter: (Original) => ({ children, ...props }) => h(Original, props,
      ...React.Children.toArray(children).map((child) => (child.type === "main" ? h("div", { ...child.props, key: child.key }) : child))),

    // With Swagger UI's own heading, this would look like the section of the same name.
    Webhooks: (Original) => (props) => h(React.Fragment, null, h("h3", { id: "webhook-messages" }, "webhook messages"), h(Original, props)),

    // Lines of JSON are not one JSON document.
    responseBody: (Original) => (props) => h(Original, /ndjson/.test(props.contentType) ? { ...props, contentType: "text/plain" } : props),

    // The properties of an open schema are open too, so that their descriptions are visible. A format says more than its pattern.
    JSONSchema202012: (Original, { fn }) => React.forwardRef((props, ref) => {
      const { useIsExpanded, useLevel } = fn.jsonSchema202012;
      const { schema } = props;
      const [level] = useLevel();
      const { setExpanded } = useIsExpanded(props.identifier || schema?.$id || props.name);
      React.useEffect(() => {
        if (level === 1) setExpanded();
      }, []);
      const shown = React.useMemo(() => plain(schema), [schema]);
      return h(Original, { ...props, schema: shown, ref });
    }),
  };
};

const mended = (system) => ({
  fn: { resolveSubtree: async (_, path) => ({ spec: (await resolve)(path), errors: [] }) },
  wrapComponents: components(system),
  // Swagger UI asks for this component, warns that it is missing, and takes another one.
  components: { JsonSchema_string_uuid: (props) => system.React.createElement(props.getComponent("JsonSchema_string"), props) },
  statePlugins: {
    spec: {
      wrapActions: {
        // Swagger UI would read the JSON as YAML, which takes a second.
        parseToJson: (_, { specActions }) => (text) => specActions.updateJsonSpec(JSON.parse(text)),
      },
    },
    layout: {
      wrapActions: {
        show: (original) => (key, isShown) => {
          const hash = isShown && addressOf([key].flat());
          if (hash) remember(hash);
          return original(key, isShown);
        },
        // The same distance as scroll-margin in the stylesheet.
        scrollToElement: () => (element) => requestAnimationFrame(() => element.scrollIntoView()),
      },
    },
  },
});

window.described = fetch("/openapi.json").then((answer) => answer.json());
const resolve = window.described.then(resolver);

/** Load a script of this host. */
function loaded(address) {
  return new Promise((done, failed) => {
    const script = Object.assign(document.createElement("script"), { src: address, onload: done, onerror: failed });
    document.head.append(script);
  });
}

/** Wait until the page has been painted and the browser has nothing more urgent to do. */
const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

/** Start Swagger UI out of sight; return it once it has the document. */
const started = (spec) => new Promise((done) => {
  const ui = window.SwaggerUIBundle({
    spec,
    dom_id: "#ui",
    // The schemas are many, and most readers look for an operation.
    defaultModelsExpandDepth: 0,
    // Swagger UI's own deep links add a step of the history for each section; search.js follows fragments instead.
    deepLinking: false,
    displayRequestDuration: true,
    defaultModelRendering: "example",
    plugins: [mended],
    requestInterceptor: (request) => Object.assign(request, { userFetch: ask }),
    // By default, Swagger UI would send the document to a validator on another host.
    validatorUrl: null,
    onComplete: () => done(ui),
  });
});

/** Put Swagger UI in the place of the list, without moving what the reader looks at. */
async function takePlace() {
  const list = document.getElementById("list");
  const ui = document.getElementById("ui");
  while (!ui.querySelector(".opblock-tag-section")) await new Promise(requestAnimationFrame);
  const top = (element) => element?.getBoundingClientRect().top ?? 0;
  const seen = [...list.querySelectorAll("[data-place]")].find((element) => top(element) >= 0);
  const before = top(seen);
  ui.hidden = false;
  list.remove();
  const after = top(document.getElementById(seen?.dataset.place));
  if (seen && before < innerHeight) scrollBy({ top: after - before, behavior: "instant" });
}

window.docs = (async () => {
  await painted();
  const [spec] = await Promise.all([window.described, loaded("/assets/swagger-ui-bundle.js")]);
  const ui = await started(spec);
  await takePlace();
  return ui;
})();

// --- accessible names, and use by keyboard -----------------------------------------------------

const LABELS = [
  ["tr[data-param-name] :is(input, select, textarea):not([aria-label])", (e) => e.closest("tr").dataset.paramName],
  [".body-param textarea:not([aria-label])", () => "Request body"],
  ["select:not([aria-label], [id])", (e) => e.closest(".content-type-wrapper, .body-param-content-type, .response-controls, .examples-select") ? "Media type or example" : "Choice"],
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

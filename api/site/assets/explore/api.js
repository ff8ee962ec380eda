// Ask the API. Every request of a page goes through here, so that the page can say what it asked.

/** A page makes no more requests than this. */
const MAX_REQUESTS = 3;
/** And waits for an answer no longer than this, in milliseconds. */
const MAX_WAIT = 120_000;

// The key is kept in this variable and nowhere else: it ends with the tab, and never stands in a URL, in the
// storage of the browser or in a command that is copied.
let key = null;

export const hasKey = () => key !== null;

export function useKey(secret) {
  key = secret || null;
}

/** An answer that is not a success: a problem as RFC 9457 describes it. */
export class Problem extends Error {
  constructor(document) {
    super(document.title);
    this.document = document;
  }
}

/**
 * Wait for the answers to several requests. If more than one failed, the first in this order is what the reader gets
 * to know, and not the one that happened to fail first.
 */
export async function answersOf(requests) {
  const settled = await Promise.allSettled(requests);
  const failed = settled.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  return settled.map(({ value }) => value);
}

/** The requests of one page. */
export class Api {
  /** `tell` is called with each request. */
  constructor(tell = () => {}) {
    this.requests = [];
    this.tell = tell;
    this.stopping = new AbortController();
  }

  get(path) {
    return this.#ask({ method: "GET", path });
  }

  post(path, body) {
    return this.#ask({ method: "POST", path, body: JSON.stringify(body) });
  }

  /** Read one record with related ones, which only a list can bring. */
  async one(type, id, expand) {
    const page = await this.get(`/v1/${type}?id__in=${encodeURIComponent(id)}&expand=${expand}`);
    const [record] = page.items;
    if (!record) throw new Problem({ status: 404, title: "No record has this id.", detail: "It may have been deleted, or only a key may see it." });
    return { record, included: page.included, truncated: page.truncated.length > 0 };
  }

  /** The reader has left the page: nobody waits for its answers any more. */
  stop() {
    this.stopping.abort();
  }

  async #ask(request) {
    if (this.requests.push(request) > MAX_REQUESTS) throw new Error(`A page makes at most ${MAX_REQUESTS} requests.`);
    this.tell(request);
    const headers = { Accept: "application/json" };
    if (key !== null) headers.Authorization = `Bearer ${key}`;
    if (request.body !== undefined) headers["Content-Type"] = "application/json";
    const { method, path, body } = request;
    const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(MAX_WAIT)]);
    const answer = await fetch(path, { method, body, headers, signal }).catch(unanswered);
    if (answer.ok) return answer.json().catch(unanswered); // it may also end in the middle
    throw new Problem(await answer.json().catch(() => ({ title: `The service answered ${answer.status}.` })));
  }
}

/** Say that no answer came, or not all of it. */
export function unanswered() {
  throw new Problem({ title: "The service does not answer.", detail: "Check the connection, and try again." });
}

/** Write a request as a command; `$key` stands in the place of the key. */
export function curl({ method, path, body }) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    "curl",
    ...(hasKey() ? ['-H "Authorization: Bearer $key"'] : []),
    ...(body === undefined ? [] : ["-H 'Content-Type: application/json'", `-d ${quoted(body)}`]),
    ...(method === "GET" || body !== undefined ? [] : [`-X ${method}`]),
    quoted(location.origin + path),
  ].join(" ");
}

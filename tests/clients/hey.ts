// What a program does with the records, by the client that @hey-api/openapi-ts writes.

import assert from "node:assert/strict";
import { env } from "node:process";

import { client } from "./generated/hey/client.gen.ts";
import {
  createArticle,
  createClaim,
  createDenial,
  createSource,
  getClaim,
  getMe,
  listChanges,
  listClaims,
  streamChanges,
  updateClaim,
} from "./generated/hey/index.ts";
import type {
  Change,
  Claim,
  ClaimUpdate,
  Problem,
  UpdateClaimErrors,
} from "./generated/hey/index.ts";

client.setConfig({ baseUrl: env.BASE ?? "", auth: () => env.KEY });

function done<T>(answer: { data?: T; error?: Problem; response?: Response }): T {
  assert(answer.data !== undefined, `${answer.response?.status}: ${answer.error?.detail}`);
  return answer.data;
}

async function followed(since: string): Promise<{ changes: Change[]; cursor: string }> {
  const changes: Change[] = [];
  for (let cursor = since; ; ) {
    const page = done(await listChanges({ query: { since: cursor, limit: 5 } }));
    changes.push(...page.items);
    cursor = page.next_cursor;
    if (page.up_to_date) return { changes, cursor };
  }
}

// The key goes along even where an operation takes none.
assert((done(await getMe())).scopes.includes("claims:write"));
const before = await followed("start");

// --- the four records ---------------------------------------------------------------------------

const source = done(await createSource({ body: { kind: "person", name: "Ada of hey-api" } }));
const article = done(await createArticle({ body: { headline: "Seen", publisher_id: source.id } }));
const created = await createClaim({
  body: {
    text: "It rained.",
    attributions: [{ source_id: source.id, role: "claimant" }],
    appearances: [{ article_id: article.id }],
    quantities: [
      { metric: "killed", qualifier: "exact", unit: "person", value: 3, printed: "three" },
    ],
    review_status: "published",
  },
  headers: { "Idempotency-Key": crypto.randomUUID() },
});
const claim = done(created);
const denial = done(
  await createDenial({
    body: { text: "It did not.", kind: "full_denial", targets: [{ claim_id: claim.id }] },
  }),
);
assert.equal(denial.targets[0]?.claim_id, claim.id);
assert.equal(claim.attributions[0]?.source_id, source.id);

// --- 412: the record has changed meanwhile -------------------------------------------------------

function update(tag: string, body: ClaimUpdate) {
  return updateClaim({ path: { id: claim.id }, headers: { "If-Match": tag }, body });
}

const tag = created.response?.headers.get("ETag") ?? "";
const changed = done(await update(tag, { certainty: "probable", note: "Changed" }));
assert.equal(changed.version, 2);
const stale = await update(tag, { note: null });
assert(stale.error && stale.response?.status === 412);
assert("current" in stale.error);
const failed: UpdateClaimErrors[412] = stale.error;
assert.equal(failed.code, "precondition-failed");
assert.equal(failed.current?.version, 2);
const again = done(await update(stale.response.headers.get("ETag") ?? "", { note: null }));
assert.deepEqual([again.version, again.note], [3, null]);

// --- 422: what was sent is not valid -------------------------------------------------------------

const wrong = await createClaim({
  body: { text: "", attributions: [{ source_id: claim.id, role: "claimant" }] },
});
assert(wrong.error && wrong.response?.status === 422);
const pointers = wrong.error.errors.map((fault) => fault.pointer);

// --- every claim, page by page -------------------------------------------------------------------

const claims = new Map<string, Claim>();
for (let cursor: string | undefined = undefined; ; ) {
  const query: { limit: number; expand: ("sources" | "denials")[]; cursor?: string } = {
    limit: 3,
    expand: ["sources", "denials"],
    ...(cursor ? { cursor } : {}),
  };
  const page = done(await listClaims({ query }));
  for (const item of page.items) {
    claims.set(item.id, item);
    for (const { source_id } of item.attributions)
      assert(source_id === null || page.included.sources?.[source_id]?.kind);
  }
  if (page.next_cursor === null) break;
  cursor = page.next_cursor;
}

// --- what has changed since: by asking, and by listening -----------------------------------------

const after = await followed(before.cursor);
const told = after.changes.map((change) => {
  // The union narrows by its tag.
  if (change.type === "claim" && change.record) assert(change.record.text);
  return `${change.op} ${change.type} ${change.id}`;
});

const heard: string[] = [];
const listening = new AbortController(); // leaving the loop alone leaves the connection open
const { stream } = await streamChanges({
  query: { since: before.cursor },
  signal: listening.signal,
  sseMaxRetryAttempts: 1,
});
for await (const event of stream) {
  if ("seq" in event) heard.push(`${event.op} ${event.type} ${event.id}`);
  else break;
}
listening.abort();
assert.deepEqual(heard, told);

// --- a term that nobody knew ---------------------------------------------------------------------

const strange = done(await getClaim({ path: { id: env.STRANGE ?? "" } }));

console.log(
  JSON.stringify({
    created: [source.id, article.id, claim.id, denial.id],
    pointers,
    claims: [...claims.keys()],
    terms: [strange.certainty, claims.get(strange.id)?.certainty],
    before: before.changes.map((change) => change.id),
    told,
  }),
);

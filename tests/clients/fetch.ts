// What a program does with the records, by openapi-typescript's types and openapi-fetch.

import assert from "node:assert/strict";
import { env } from "node:process";

import { client, done } from "./connected.ts";
import type { Schemas } from "./connected.ts";

async function followed(since: string): Promise<{ changes: Schemas["Change"][]; cursor: string }> {
  const changes: Schemas["Change"][] = [];
  for (let cursor = since; ; ) {
    const page = done(await client.GET("/v1/changes", { params: { query: { since: cursor, limit: 5 } } }));
    changes.push(...page.items);
    cursor = page.next_cursor;
    if (page.up_to_date) return { changes, cursor };
  }
}

const before = await followed("start");

// --- the four records ---------------------------------------------------------------------------

const source = done(
  await client.POST("/v1/sources", { body: { kind: "person", name: "Ada of openapi-fetch" } }),
);
const article = done(
  await client.POST("/v1/articles", { body: { headline: "Seen", publisher_id: source.id } }),
);
const created = await client.POST("/v1/claims", {
  body: {
    text: "It rained.",
    attributions: [{ source_id: source.id, role: "claimant" }],
    appearances: [{ article_id: article.id }],
    quantities: [
      { metric: "killed", qualifier: "exact", unit: "person", value: 3, printed: "three" },
    ],
    review_status: "published",
  },
  params: { header: { "Idempotency-Key": crypto.randomUUID() } },
});
const claim = done(created);
const denial = done(
  await client.POST("/v1/denials", {
    body: { text: "It did not.", kind: "full_denial", targets: [{ claim_id: claim.id }] },
  }),
);
assert.equal(denial.targets[0]?.claim_id, claim.id);
assert.equal(claim.attributions[0]?.source_id, source.id);

// --- 412: the record has changed meanwhile -------------------------------------------------------

function update(tag: string, body: Schemas["ClaimUpdate"]) {
  return client.PATCH("/v1/claims/{id}", {
    params: { path: { id: claim.id }, header: { "If-Match": tag } },
    body,
  });
}

const tag = created.response.headers.get("ETag") ?? "";
const changed = done(await update(tag, { certainty: "probable", note: "Changed" }));
assert.equal(changed.version, 2);
const stale = await update(tag, { note: null });
assert(stale.error && stale.response.status === 412);
assert.equal(stale.error.code, "precondition-failed");
assert("current" in stale.error);
const current: Schemas["Claim"] | null = stale.error.current;
assert.equal(current?.version, 2);
const again = done(await update(stale.response.headers.get("ETag") ?? "", { note: null }));
assert.deepEqual([again.version, again.note], [3, null]);

// --- 422: what was sent is not valid -------------------------------------------------------------

const wrong = await client.POST("/v1/claims", {
  body: { text: "", attributions: [{ source_id: claim.id, role: "claimant" }] },
});
assert(wrong.error && wrong.response.status === 422);
const pointers = wrong.error.errors.map((fault) => fault.pointer);

// --- every claim, page by page -------------------------------------------------------------------

const claims = new Map<string, Schemas["Claim"]>();
for (let cursor: string | undefined = undefined; ; ) {
  const page: Schemas["ClaimPage"] = done(
    await client.GET("/v1/claims", {
      params: { query: { limit: 3, expand: ["sources", "denials"], ...(cursor ? { cursor } : {}) } },
    }),
  );
  for (const item of page.items) {
    claims.set(item.id, item);
    for (const { source_id } of item.attributions)
      assert(source_id === null || page.included.sources?.[source_id]?.kind);
  }
  if (page.next_cursor === null) break;
  cursor = page.next_cursor;
}

// --- what has changed since ----------------------------------------------------------------------

const after = await followed(before.cursor);
const told = after.changes.map((change) => {
  // The union narrows by its tag.
  if (change.type === "claim" && change.record) assert(change.record.text);
  return `${change.op} ${change.type} ${change.id}`;
});

// --- a term that nobody knew ---------------------------------------------------------------------

const strange = done(
  await client.GET("/v1/claims/{id}", { params: { path: { id: env.STRANGE ?? "" } } }),
);

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

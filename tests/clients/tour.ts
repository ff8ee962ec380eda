// The five-minute tour of the README, by openapi-typescript's types and openapi-fetch.

import assert from "node:assert/strict";

import { base, client, done, headers } from "./connected.ts";
import type { Schemas } from "./connected.ts";

async function source(body: Schemas["SourceCreate"]): Promise<string> {
  return done(await client.POST("/v1/sources", { body })).id;
}

const mp = await source({ kind: "person", name: "Lee", roles: [{ title: "MP" }] });
const service = await source({ kind: "government_body", name: "Intelligence Service" });
const briefing = await source({ kind: "briefing", description: "closed briefing to parliament" });
const ministry = await source({ kind: "government_body", name: "Foreign Ministry" });

const article = done(
  await client.POST("/v1/articles", {
    body: {
      headline: "Heavy losses, MP says",
      language: "en",
      text: "At least 100 soldiers were killed, MP Lee said, citing a briefing.",
    },
  }),
);

const created = await client.POST("/v1/claims", {
  body: {
    text: "At least 100 soldiers were killed",
    kind: "quantity",
    review_status: "published",
    attributions: [
      { position: 0, source_id: mp, printed: "MP Lee", cue: "said" },
      { position: 1, source_id: service, via_id: briefing, role: "cited", cue: "citing" },
    ],
    quantities: [
      { metric: "killed", unit: "person", qualifier: "at_least", lower: 100, printed: "At least 100" },
    ],
    appearances: [
      {
        article_id: article.id,
        spans: [
          { role: "content", start: 0, end: 33, exact: "At least 100 soldiers were killed" },
        ],
      },
    ],
  },
});
const claim = done(created);
assert.equal(claim.appearances[0]?.spans[0]?.prefix, "");

const misplaced = await client.POST("/v1/claims", {
  body: {
    text: "…",
    appearances: [{ article_id: article.id, spans: [{ start: 3, end: 9, exact: "killed" }] }],
  },
});
assert(misplaced.error && misplaced.response.status === 422);
assert(misplaced.error.errors[0]?.pointer?.startsWith("/appearances/0/spans/0"));

const denial = done(
  await client.POST("/v1/denials", {
    body: {
      text: "The ministry says the figure is made up",
      kind: "disputes_figures",
      review_status: "published",
      targets: [{ claim_id: claim.id }],
      attributions: [{ source_id: ministry, cue: "rejected" }],
    },
  }),
);
const denied = done(
  await client.GET("/v1/claims", {
    params: { query: { response_family: "denies", expand: ["sources", "denials"] } },
  }),
);
assert(denied.items.some((item) => item.id === claim.id));
assert.equal(denied.included.denials?.[denial.id]?.text, denial.text);
assert.equal(denied.included.sources?.[mp]?.name, "Lee");

for (const query of [
  { origin_id: service },
  { metric: "killed", quantity_from: 50, quantity_to: 500 },
  { q: "soldiers -drone", sort: "relevance" as const },
]) {
  const page = done(await client.GET("/v1/claims", { params: { query } }));
  assert(page.items.some((item) => item.id === claim.id));
}
const uncredited = done(
  await client.GET("/v1/claims", { params: { query: { attributed: false } } }),
);
assert(uncredited.items.every((item) => item.id !== claim.id));
const named = done(await client.GET("/v1/sources", { params: { query: { name: "lee" } } }));
assert(named.items.some((item) => item.id === mp));
const responses = done(
  await client.GET("/v1/denials", { params: { query: { claim_id: claim.id } } }),
);
assert.deepEqual(responses.items.map((item) => item.id), [denial.id]);

const path = { id: claim.id };
const read = await client.GET("/v1/claims/{id}", { params: { path } });
const tag = read.response.headers.get("ETag") ?? "";
const change: Schemas["ClaimUpdate"] = { certainty: "probable" };
const send = (etag: string, body: Schemas["ClaimUpdate"]) =>
  client.PATCH("/v1/claims/{id}", { params: { path, header: { "If-Match": etag } }, body });
assert.equal(done(await send(tag, change)).certainty, "probable");
const stale = await send(tag, { note: "Too late" });
assert(stale.error && "current" in stale.error);
assert.equal(stale.error.current?.certainty, "probable");
const history = done(await client.GET("/v1/claims/{id}/revisions", { params: { path } }));
assert.deepEqual(history.items.map((item) => item.version), [2, 1]);

const once = { "Idempotency-Key": `tour ${crypto.randomUUID()}` };
const twice = [1, 2].map(() =>
  client.POST("/v1/claims", { params: { header: once }, body: { text: "Once is enough" } }),
);
const [first, second] = (await Promise.all(twice)).filter((answer) => answer.data);
assert(first && (!second || second.data?.id === first.data?.id));

const changes = done(await client.GET("/v1/changes", { params: { query: { limit: 2 } } }));
assert.equal(changes.items.length, 2);
done(await client.GET("/v1/changes", { params: { query: { since: "now", wait: 1 } } }));

// One JSON object on each line: openapi-fetch has no way to send that.
const lines = ["Freedonia", "Sylvania"].map((name, index) => ({
  type: "source" as const,
  external_id: { namespace: "tour", value: String(index) },
  data: { kind: "state" as const, name },
})) satisfies Schemas["ImportLine"][];
const imported = await fetch(`${base}/v1/import?atomic=true`, {
  method: "POST",
  headers: { ...headers, "Content-Type": "application/x-ndjson" },
  body: lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
});
const last = JSON.parse((await imported.text()).trim().split("\n").at(-1) ?? "");
assert.equal((last as Schemas["ImportTotals"]).totals.lines, 2);

console.log(JSON.stringify({ claim: claim.id, denial: denial.id }));

// The questions of a newsroom, by openapi-typescript's types and openapi-fetch.

import assert from "node:assert/strict";

import { client, done } from "./connected.ts";
import type { Schemas } from "./connected.ts";

const ASKED = "1d1e7f77-78ed-5b26-95a1-e8f8034d8e9f";
const RESTATED = "147fa90f-1ccf-53d4-af97-3da31ce125f2";

// --- who gave which figure, and what conflicts with it -------------------------------------------

async function figuresOf(metric: string): Promise<string[]> {
  const page = done(
    await client.GET("/v1/figures", {
      params: { query: { metric, sort: "lower", expand: ["sources", "claims"] } },
    }),
  );
  return page.items.map((figure) => {
    const claimants = figure.claimants.map((id) => page.included.sources?.[id]?.name);
    const conflicts = figure.conflicts.map(({ record }) => page.included.claims?.[record.id]?.text);
    return [...claimants, figure.printed, figure.lower_bound ?? "-", ...conflicts].join(" | ");
  });
}

const killed = await figuresOf("killed");
const injured = await figuresOf("injured");

// --- origins, claims without an answer, responses, groups ----------------------------------------

const origins = done(
  await client.GET("/v1/claims/{id}/origins", { params: { path: { id: RESTATED } } }),
);
const unanswered = done(
  await client.GET("/v1/claims", {
    params: { query: { kind: "accusation", responded: false } },
  }),
);
const responses = done(
  await client.GET("/v1/claims/{id}/responses", {
    params: { path: { id: ASKED }, query: { expand: ["sources", "denials"] } },
  }),
);
const counts = done(
  await client.GET("/v1/claims/groups", {
    params: { query: { by: ["claimant_id", "response_family"], limit: 2 } },
  }),
);

// --- the queue of lost words, and how they are attached again -------------------------------------

const text = "😀 Officials said “at least 100” soldiers were killed.";
const article = await client.POST("/v1/articles", { body: { text } });
const id = done(article).id;
const words = "“at least 100” soldiers";
const start = [...text.slice(0, text.indexOf(words))].length;
const span = { start, end: start + words.length, exact: words };
const claim = done(
  await client.POST("/v1/claims", {
    body: { text: "At least 100 were killed", appearances: [{ article_id: id, spans: [span] }] },
  }),
);
const etag = article.response.headers.get("ETag") ?? "";
done(
  await client.PATCH("/v1/articles/{id}", {
    params: { path: { id }, header: { "If-Match": etag } },
    body: { text: text.replaceAll(/[“”]/g, '"') },
  }),
);
const lost = done(await client.GET("/v1/articles/{id}/anchors", { params: { path: { id } } }));
const items = lost.items.map(({ record, version, appearance, spans }) => ({
  record,
  appearance,
  if_match: `"v${version}"`,
  spans: spans.map(({ role, suggestions: [best] }) => {
    assert(best);
    const { start, end, exact, prefix, suffix } = best;
    return { role, start, end, exact, prefix, suffix };
  }),
}));
// Terms that were read are strings: later versions can add some.
const body = items as Schemas["ReattachmentInput"][];
const mended = done(
  await client.POST("/v1/articles/{id}/anchors", { params: { path: { id } }, body }),
);
assert.deepEqual(mended.items.map((each) => each.record.id), [claim.id]);

console.log(
  JSON.stringify({
    killed,
    injured,
    origins: origins.count,
    unanswered: unanswered.items.map((each) => each.text),
    responders: responses.responders.map(({ source_id, latest }) => {
      const source = responses.included.sources?.[source_id];
      return `${source?.name ?? source?.description}: ${responses.included.denials?.[latest]?.kind}`;
    }),
    claimants: (counts.groups.claimant_id ?? []).map(({ name, count }) => `${name}: ${count}`),
    without: counts.none.response_family,
    suggested: lost.items.flatMap(({ spans }) =>
      spans.flatMap(({ suggestions }) => suggestions.map(({ why, exact }) => `${why}: ${exact}`)),
    ),
    attached: mended.attached,
  }),
);

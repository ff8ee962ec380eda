// The client of the programs that use openapi-typescript's types and openapi-fetch.

import assert from "node:assert/strict";
import { env } from "node:process";

import createClient from "openapi-fetch";

import type { components, paths } from "./generated/schema.d.ts";

export type Schemas = components["schemas"];

export const base = env.BASE ?? "";
export const headers = { Authorization: `Bearer ${env.KEY}` };
export const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl: base, headers });

// openapi-fetch calls every body application/json, unless told otherwise.
client.use({
  onRequest({ request }) {
    if (request.method === "PATCH")
      request.headers.set("Content-Type", "application/merge-patch+json");
  },
});

export function done<T>(answer: {
  data?: T;
  error?: Schemas["Problem"];
  response: Response;
}): T {
  assert(answer.data !== undefined, `${answer.response.status}: ${answer.error?.detail}`);
  return answer.data;
}

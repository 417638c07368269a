// The README's tour with clients made by openapi-typescript and openapi-fetch. Run by tests/openapi/check_clients.py.
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { paths as Activity } from "./activity.js";
import type { paths as Catalog } from "./catalog.js";
import type { paths as Metering } from "./metering.js";

const stack = JSON.parse(readFileSync(process.env["STACK_JSON"]!, "utf8"));
const catalog = createClient<Catalog>({ baseUrl: stack.catalog.url });
const activity = createClient<Activity>({ baseUrl: stack.activity.url });
const metering = createClient<Metering>({
  baseUrl: stack.metering.url,
  headers: { Authorization: `Bearer ${stack.service_keys.admin}` },
});

async function authorize(clientId: string): Promise<{ Authorization: string }> {
  const { data, error } = await catalog.POST("/generate-client-auth-token", {
    body: { client_id: clientId, client_secret: `${clientId}-secret`, fingerprint: "tour" },
  });
  assert(data, error?.message);
  return { Authorization: `${data.data.token_type} ${data.data.access_token}` };
}

const headers = await authorize("demo");

const plans = await catalog.POST("/get-plans", { headers, body: { collection_id: "collection-123" } });
assert(plans.data, plans.error?.message);
assert(plans.data.data.some((plan) => plan.plan_id === "plan-abc-123" && plan.plan_name === "Basic Plan"));

const created = await activity.POST("/api/plan-plays", {
  headers,
  params: { header: { "Idempotency-Key": `tour-${Date.now()}-${process.pid}` } },
  body: { planId: "plan-abc-123", userId: "user-1", plannedLessons: ["lesson-1"] },
});
assert(created.data, created.error?.error);
const play = created.data.data;
assert.equal(play.status, "active");

const completed = await activity.PATCH("/api/plan-plays/{id}", {
  headers,
  params: { path: { id: play.id } },
  body: { status: "ended" },
});
assert(completed.data?.data.completedAt, completed.error?.error);

const list = await activity.GET("/api/plan-plays", { headers, params: { query: { status: "ended", limit: 1 } } });
assert.equal(list.data?.data[0]?.id, play.id);

const poor = await authorize("demo-credits");
let refused: string | undefined;
for (let attempt = 0; attempt < 6 && refused === undefined; attempt++) {
  const { error, response } = await activity.POST("/api/plan-plays", { headers: poor, body: { planId: "plan-abc-123" } });
  if (error && "code" in error) {
    refused = error.code;
    assert.equal(response.status, 429);
    assert.equal(error.retryAfterSeconds, null);
  }
}
assert.equal(refused, "api_balance_exhausted");

const balance = await metering.GET("/internal/clients/{clientId}/balance", { params: { path: { clientId: "demo" } } });
assert((balance.data?.available ?? 0) > 0);
console.log("openapi-typescript: token, plans, play, completion, refusal and balance as the README says");

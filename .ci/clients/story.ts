// A player's story by the client that openapi-typescript generates: snapshot, resume, restore, claim, history, and failures.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [base, sim, key] = process.argv.slice(2) as [string, string, string];
const state = '{"checkpoint":"cave-3","hp":71}';

async function control(method: string, path: string, body?: unknown): Promise<void> {
  const answer = await fetch(`${sim}/control/rooms/typescript${path}`, { method, body: JSON.stringify(body ?? {}) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.text()}`);
}

function code(problem: components["schemas"]["Problem"] | undefined): components["schemas"]["ProblemCode"] {
  assert.ok(problem, "a failure is expected");
  return problem.code;
}

const client = createClient<paths>({ baseUrl: base, headers: { Authorization: `Bearer ${key}` } });
const user = { path: { user_id: "ada" } };
const room_id = "typescript";

const nothing = await client.GET("/v1/users/{user_id}/resume", { params: user });
assert.equal(code(nothing.error), "no-saved-metadata");

await control("POST", "/peers", { user_id: "ada", peer_id: "first", metadata: state });
const peer = { path: { room_id, peer_id: "first" } };
const taken = await client.POST("/v1/rooms/{room_id}/peers/{peer_id}/snapshots", { params: peer });
assert.equal(taken.response.status, 201);
assert.equal(taken.data?.metadata_raw, state);
const room = await client.POST("/v1/rooms/{room_id}/snapshots", { params: { path: { room_id } } });
assert.deepEqual(room.data?.snapshots.map((snapshot) => snapshot.peer_id), ["first"]);

const resumed = await client.GET("/v1/users/{user_id}/resume", { params: user });
assert.equal(resumed.data?.metadata_raw, state);
const etag = resumed.response.headers.get("etag");
assert.ok(etag);
const again = await client.GET("/v1/users/{user_id}/resume", { params: { ...user, header: { "If-None-Match": etag } } });
assert.equal(again.response.status, 304);

await control("POST", "/peers", { user_id: "ada", peer_id: "second" });
await control("POST", "/peers", { user_id: "bob", peer_id: "other" });
const restored = await client.POST("/v1/users/{user_id}/resume", {
  params: user,
  body: { room_id, peer_id: "second", claimed_by: "server-1" },
});
assert.equal(restored.data?.restored, true);
assert.equal(restored.data?.metadata_raw, state);
assert.equal(restored.data?.claim?.claimed_by, "server-1");
const claimed = await client.POST("/v1/users/{user_id}/resume", { params: user, body: { claimed_by: "server-2" } });
assert.equal(claimed.response.status, 409);
assert.equal(code(claimed.error), "already-claimed");
const foreign = await client.POST("/v1/users/{user_id}/resume", { params: user, body: { room_id, peer_id: "other" } });
assert.equal(code(foreign.error), "peer-not-of-user");
const unsaved = await client.POST("/v1/users/{user_id}/resume", {
  params: { path: { user_id: "bob" } },
  body: { room_id, peer_id: "other" },
});
assert.equal(unsaved.data?.restored, false);
assert.equal(unsaved.data?.why, "nothing-saved");
assert.equal(unsaved.data?.metadata_raw, undefined);

const history = await client.GET("/v1/users/{user_id}/snapshots", { params: { ...user, query: { limit: 1 } } });
assert.equal(history.data?.snapshots.length, 1);
assert.ok(history.data?.next_cursor);
const gone = await client.POST("/v1/rooms/{room_id}/peers/{peer_id}/snapshots", {
  params: { path: { room_id, peer_id: "nobody" } },
});
assert.equal(code(gone.error), "peer-not-found");
const stranger = createClient<paths>({ baseUrl: base });
const refused = await stranger.GET("/v1/users/{user_id}/resume", { params: user });
assert.equal(code(refused.error), "unauthorized");
console.log("the TypeScript client works");

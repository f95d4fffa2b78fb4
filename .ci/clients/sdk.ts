// 100ms's own server SDK through a whole story against the simulated 100ms, which it cannot tell from the real one; and
// whether rejoin reads the same bytes alike.
import assert from "node:assert/strict";
import { SDK } from "@100mslive/server-sdk";

const [base, sim, key, accessKey, secret] = process.argv.slice(2) as [string, string, string, string, string];
const hms = new SDK(accessKey, secret);
// The SDK has no setting for it.
(hms as unknown as { api: { axios: { defaults: { baseURL: string } } } }).api.axios.defaults.baseURL = `${sim}/v2`;
const room = "sdk";

async function join(user_id: string, peer_id: string, role = "player"): Promise<void> {
  const body = JSON.stringify({ user_id, peer_id, role });
  const answer = await fetch(`${sim}/control/rooms/${room}/peers`, { method: "POST", body });
  assert.ok(answer.ok, await answer.text());
}

async function snapshot(peer: string): Promise<string | null> {
  const url = `${base}/v1/rooms/${room}/peers/${peer}/snapshots`;
  const answer = await fetch(url, { method: "POST", headers: { Authorization: `Bearer ${key}` } });
  assert.ok(answer.ok, await answer.clone().text());
  return ((await answer.json()) as { metadata_raw: string | null }).metadata_raw;
}

await join("ada", "p1");
await join("bob", "p2");
await join("eve", "p3", "spectator");
const active = await hms.activeRooms.retrieve(room);
assert.deepEqual([...active.session.peers].sort(), ["p1", "p2", "p3"]);
assert.ok(active.session.created_at, "a session has a time");

const texts = ['{"hp":71}', "", "plain", "null", "[1.0,2e400]", '"\\u0000"', "ünï ⚔ \u{10ffff}", '{"a":1,"a":2}', "\t\n\\"];
for (const metadata of texts) {
  const updated = await hms.activeRooms.updatePeer(room, "p1", { metadata });
  assert.equal(updated.metadata, metadata);
  const peer = await hms.activeRooms.retrievePeerDetails(room, "p1");
  assert.equal(peer.metadata, metadata);
  assert.equal(await snapshot("p1"), peer.metadata, "rejoin reads what the SDK reads");
}
const promoted = await hms.activeRooms.updatePeer(room, "p2", { role: "judge", name: "Bob" });
assert.equal(promoted.role, "judge");
const peers = await hms.activeRooms.retrieveActivePeers(room);
assert.deepEqual(Object.keys(peers).sort(), ["p1", "p2", "p3"]);

const session = await hms.sessions.retrieveActiveByRoom(room);
assert.equal(session.id, active.session.id);
const sessions: string[] = [];
for await (const listed of hms.sessions.list({ room_id: room, limit: 10 })) sessions.push(listed.id);
assert.deepEqual(sessions, [session.id]);

await hms.activeRooms.sendMessage(room, { message: "hello" });
await hms.activeRooms.removePeer(room, { peer_id: "p2", reason: "be nice" });
await hms.activeRooms.removePeer(room, { role: "spectator" });
assert.deepEqual(Object.keys(await hms.activeRooms.retrieveActivePeers(room)), ["p1"]);
await hms.activeRooms.end(room, { reason: "over" });
await assert.rejects(hms.activeRooms.retrieve(room), "the room is not active any more");
await assert.rejects(hms.sessions.retrieveActiveByRoom(room));
const ended = await hms.sessions.retrieveById(session.id);
assert.equal(ended.active, false);
assert.deepEqual(Object.keys(ended.peers).sort(), ["p1", "p2", "p3"]);
// The rooms themselves.
const made = await hms.rooms.create({ name: "sdk-room", description: "made by the SDK" });
assert.deepEqual([made.name, made.enabled, made.description], ["sdk-room", true, "made by the SDK"]);
assert.equal((await hms.rooms.create({ name: "SDK-room" })).id, made.id, "a name names one room");
assert.equal((await hms.rooms.retrieveByName("sdk-room")).id, made.id);
const changed = await hms.rooms.update(made.id, { description: "changed", region: "eu" });
assert.deepEqual([changed.description, changed.region], ["changed", "eu"]);
const read = await hms.rooms.retrieveById(made.id);
assert.deepEqual([read.description, read.region, read.customer], ["changed", "eu", changed.customer_id]);
for (let number = 0; number < 12; number++) await hms.rooms.create();
const listed = new Set<string>();
for await (const one of hms.rooms.list({ limit: 10 })) listed.add(one.id);
assert.ok(listed.has(made.id) && listed.size >= 13, `${listed.size} rooms on all pages`);
await hms.rooms.enableOrDisable(made.id, false);
const refused = await fetch(`${sim}/control/rooms/${made.id}/peers`, { method: "POST", body: "{}" });
assert.equal(refused.status, 409, "nobody joins a disabled room");
const disabled: string[] = [];
for await (const one of hms.rooms.list({ enabled: false })) disabled.push(one.id);
assert.deepEqual(disabled, [made.id]);
assert.equal((await hms.rooms.enableOrDisable(made.id, true)).enabled, true);
await assert.rejects(hms.rooms.retrieveById("nowhere"));
await assert.rejects(hms.rooms.retrieveByName("nowhere"));
console.log("the official SDK works with the simulated 100ms, and rejoin reads what it reads");

// A player joins, plays, drops, joins again, and gets the state back.
import assert from "node:assert/strict";
import { GameServer } from "./game-server.js";

const room = "arena-node";

/** What the app of a player does, through the simulated 100ms. */
async function player(path: string, body: object = {}): Promise<void> {
  const url = `${process.env.SIM_URL ?? "http://127.0.0.1:8100"}/control/rooms/${room}${path}`;
  const answer = await fetch(url, { method: "POST", body: JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.text()}`);
}

const [server, other] = [new GameServer("server-1"), new GameServer("server-2")];

await player("/peers", { user_id: "ada-node", peer_id: "first" });
assert.deepEqual(await server.playerJoined(room, "first", "ada-node"), { level: 1, hp: 100 });
await server.checkpoint(room, "first", { level: 4, hp: 71 });

await player("/peers/first/drop");
await player("/peers", { user_id: "ada-node", peer_id: "second" });
const states = [
  await server.playerJoined(room, "second", "ada-node"),
  await server.stateAt100ms(room, "second"),
];
for (const state of states) assert.deepEqual(state, { level: 4, hp: 71 });

// A player who joins twice at once is one player: the other server leaves the state to the first.
await player("/peers", { user_id: "ada-node", peer_id: "third" });
await other.playerJoined(room, "third", "ada-node");
assert.equal((await server.stateAt100ms(room, "third")).level, 1, "nothing was written to it");
console.log("the player has the state back");

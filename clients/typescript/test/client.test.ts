// The client against real HTTP servers that answer as rejoin, as a balancer, or not at all.
import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { createRejoin, RejoinError } from "../src/index.js";

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Serves these answers, one a request, the last one for all others. */
async function serve(context: TestContext, ...handlers: Handler[]): Promise<{ baseUrl: string; requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    const handler = handlers[Math.min(requests.length, handlers.length - 1)];
    requests.push(request);
    handler?.(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

const answer = (status: number, body: unknown, headers: Record<string, string> = {}): Handler => (_, response) => {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
};
const problem = (status: number, code: string, headers?: Record<string, string>): Handler =>
  answer(status, { type: "about:blank", title: "t", status, detail: "Why.", code, request_id: "r1" }, headers);
const state = { user_id: "ada", metadata_raw: "hp 71" };

test("a state is returned, and what is asked for is sent", async (context) => {
  const { baseUrl, requests } = await serve(context, answer(200, state));
  const rejoin = createRejoin({ baseUrl, apiKey: "k" });
  const resumed = await rejoin.resumeOrNull("a/b", { roomId: "r", excludePeerId: "p", maxAge: 60, only: "dropped" });
  assert.equal(resumed?.metadata_raw, "hp 71");
  assert.equal(requests[0]?.url, "/v1/users/a%2Fb/resume?room_id=r&exclude_peer_id=p&max_age=60&only=dropped");
  assert.equal(requests[0]?.headers.authorization, "Bearer k");
});

test("no state that fits is null, and every other failure an error", async (context) => {
  for (const [status, code] of [[404, "no-saved-metadata"], [404, "saved-metadata-too-old"], [409, "not-dropped"]] as const) {
    const { baseUrl } = await serve(context, problem(status, code));
    assert.equal(await createRejoin({ baseUrl }).resumeOrNull("ada"), null);
  }
  for (const [status, code] of [[404, "not-found"], [401, "unauthorized"], [500, "internal"]] as const) {
    const { baseUrl, requests } = await serve(context, problem(status, code));
    const failed = createRejoin({ baseUrl }).resumeOrNull("ada");
    await assert.rejects(failed, (error: unknown) => {
      assert.ok(error instanceof RejoinError);
      assert.deepEqual([error.status, error.code, error.detail, error.requestId], [status, code, "Why.", "r1"]);
      return true;
    });
    assert.equal(requests.length, 1, "it is not tried again");
  }
});

test("a rejoin that is away for a while is asked again, when it says", async (context) => {
  const away = problem(503, "database-unavailable", { "retry-after": "1" });
  const { baseUrl, requests } = await serve(context, away, answer(200, state));
  const start = Date.now();
  const resumed = await createRejoin({ baseUrl }).resumeOrNull("ada");
  assert.equal(resumed?.metadata_raw, "hp 71");
  assert.equal(requests.length, 2);
  assert.ok(Date.now() - start >= 1_000);
});

test("attempts and time are bounded", async (context) => {
  const away = problem(503, "overloaded");
  const { baseUrl, requests } = await serve(context, away);
  const overloaded = (error: unknown) => error instanceof RejoinError && error.code === "overloaded";
  await assert.rejects(createRejoin({ baseUrl, retries: 2 }).resumeOrNull("ada"), overloaded);
  assert.equal(requests.length, 3);
  // A wait that is longer than all attempts may take is not begun.
  const long = await serve(context, problem(503, "upstream-rate-limited", { "retry-after": "3600" }));
  const limited = (error: unknown) => error instanceof RejoinError && error.retryAfter === 3600;
  await assert.rejects(createRejoin(long).restore("ada", { roomId: "r", peerId: "p" }), limited);
  assert.equal(long.requests.length, 1);
});

test("an attempt that hangs, and a connection that breaks, are tried again", async (context) => {
  const { baseUrl, requests } = await serve(context, () => {}, (request) => request.socket.destroy(), answer(200, state));
  const resumed = await createRejoin({ baseUrl, timeoutMs: 200 }).resumeOrNull("ada");
  assert.equal(resumed?.user_id, "ada");
  assert.equal(requests.length, 3);
});

test("a body is sent again with a request", async (context) => {
  const bodies: string[] = [];
  const reading = (then: Handler): Handler => (request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      bodies.push(body);
      then(request, response);
    });
  };
  const { baseUrl } = await serve(context, reading(problem(503, "overloaded")), reading(answer(200, { restored: true })));
  const restored = await createRejoin({ baseUrl }).restore("ada", { roomId: "r", peerId: "p", claimedBy: "server-1" });
  assert.equal(restored.restored, true);
  const body = '{"room_id":"r","peer_id":"p","claimed_by":"server-1"}';
  assert.deepEqual(bodies, [body, body]);
});

test("what is not rejoin's is an error all the same", async (context) => {
  const page: Handler = (_, response) => response.writeHead(404, { "content-type": "text/html" }).end("<h1>nginx</h1>");
  const { baseUrl } = await serve(context, page);
  await assert.rejects(createRejoin({ baseUrl }).resumeOrNull("ada"), (error: unknown) => {
    assert.ok(error instanceof RejoinError);
    assert.deepEqual([error.status, error.code], [404, null]);
    return true;
  });
});

test("no answer, a body that breaks off and one that is no JSON are errors of the same kind", async (context) => {
  const hang: Handler = () => {};
  const cut: Handler = (_, response) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": "100" });
    response.write("{", () => response.destroy());
  };
  const garbage: Handler = (_, response) => response.writeHead(200, { "content-type": "application/json" }).end("<h1>");
  for (const [handler, attempts] of [[hang, 2], [cut, 2], [garbage, 1]] as const) {
    const { baseUrl, requests } = await serve(context, handler);
    const failed = createRejoin({ baseUrl, retries: 1, timeoutMs: 200 }).resumeOrNull("ada");
    await assert.rejects(failed, (error: unknown) => {
      assert.ok(error instanceof RejoinError);
      assert.deepEqual([error.status, error.code], [0, null]);
      assert.ok(error.cause instanceof Error);
      return true;
    });
    assert.equal(requests.length, attempts);
  }
});

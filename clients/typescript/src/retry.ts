import { retryAfter } from "./error.js";

/** How often, and for how long, a request is tried. */
export interface RetryOptions {
  /** How many more attempts a request gets; 3 by default. */
  retries?: number;
  /** For how long one attempt may take, in milliseconds; 10,000 by default. */
  timeoutMs?: number;
  /** For how long all attempts together may take, in milliseconds; 30,000 by default. */
  totalTimeoutMs?: number;
}

/** The statuses of a rejoin, or of a balancer before it, that may be well again soon. */
const TEMPORARY = [429, 502, 503, 504];
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/**
 * A `fetch` that tries again what failed for a while. Every operation of rejoin may be repeated: snapshots and restores
 * that were done already are recognized, and a claim stays with its claimant.
 */
export function retrying(
  send: (request: Request) => Promise<Response>,
  { retries = 3, timeoutMs = 10_000, totalTimeoutMs = 30_000 }: RetryOptions,
): (request: Request) => Promise<Response> {
  return async (request) => {
    const deadline = Date.now() + totalTimeoutMs;
    for (let attempt = 0; ; attempt += 1) {
      // Waiting is of use only if there is time for another attempt after it.
      const mayWait = (pause: number) => attempt < retries && Date.now() + pause < deadline;
      const left = Math.max(1, Math.min(timeoutMs, deadline - Date.now()));
      const signal = AbortSignal.any([request.signal, AbortSignal.timeout(left)]);
      try {
        const response = await whole(await send(new Request(request.clone(), { signal })));
        const wait = retryAfter(response);
        const pause = wait === null ? backoff(attempt) : wait * 1_000;
        if (!TEMPORARY.includes(response.status) || !mayWait(pause)) return response;
        await sleep(pause);
      } catch (error) {
        const pause = backoff(attempt);
        if (request.signal.aborted || !mayWait(pause)) throw error;
        await sleep(pause);
      }
    }
  };
}

/** The answer with its body read, so that one that breaks off is a failure of this attempt. */
async function whole(response: Response): Promise<Response> {
  const body = await response.arrayBuffer();
  const { status, statusText, headers } = response;
  return new Response(body.byteLength === 0 ? null : body, { status, statusText, headers });
}

/** Pauses double, with jitter, so that clients that failed together do not come back together. */
function backoff(attempt: number): number {
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** attempt, LONGEST_PAUSE_MS);
  return pause * (1 + Math.random() / 4);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

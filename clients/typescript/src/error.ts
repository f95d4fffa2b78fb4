import type { components } from "./schema.js";

type Problem = components["schemas"]["Problem"];

/** A request that failed, as rejoin says it; or that was not answered. */
export class RejoinError extends Error {
  override readonly name = "RejoinError";

  private constructor(
    /** The status of the answer; 0 where there was none that could be read. */
    readonly status: number,
    /** The stable name of the failure; null where something else than rejoin answered. */
    readonly code: Problem["code"] | null,
    /** What happened, for people. */
    readonly detail: string,
    /** Names the request in rejoin's log. */
    readonly requestId: string | null,
    /** After how many seconds to try again, where rejoin says so. */
    readonly retryAfter: number | null,
  ) {
    super(`${code ?? status}: ${detail}`);
  }

  /** The failure where there was no answer, or none that could be read. Its `cause` says more. */
  static ofNoAnswer(cause: unknown): RejoinError {
    const error = new RejoinError(0, null, "rejoin gave no answer that could be read", null, null);
    error.cause = cause;
    return error;
  }

  /** The failure that an answer is. */
  static of(response: Response, body: unknown): RejoinError {
    const problem = isProblem(body) ? body : null;
    const requestId = problem?.request_id ?? response.headers.get("x-request-id");
    const detail = problem?.detail ?? `an answer with status ${response.status} that is not rejoin's`;
    return new RejoinError(response.status, problem?.code ?? null, detail, requestId, retryAfter(response));
  }
}

/** The seconds of `Retry-After`; null where there is none. */
export function retryAfter(response: Response): number | null {
  const seconds = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  return Number.isNaN(seconds) || seconds < 0 ? null : seconds;
}

function isProblem(body: unknown): body is Problem {
  return typeof body === "object" && body !== null && "code" in body && "detail" in body;
}

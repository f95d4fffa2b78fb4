/**
 * A typed client of rejoin. `createRejoin` makes one; its `api` has every operation of the API, typed from the
 * description, and the functions beside it are for what a game server does most.
 *
 * @module
 */
import createClient, { type Client } from "openapi-fetch";
import { RejoinError } from "./error.js";
import { retrying, type RetryOptions } from "./retry.js";
import type { components, paths } from "./schema.js";

export { RejoinError } from "./error.js";
export type { RetryOptions } from "./retry.js";
export type { components, paths } from "./schema.js";

/** The saved state of a user. */
export type Resume = components["schemas"]["Resume"];
/** What came of a restore or a claim. */
export type RestoreAnswer = components["schemas"]["RestoreAnswer"];
/** A row of history. */
export type Snapshot = components["schemas"]["Snapshot"];
/** Why a request failed. */
export type ProblemCode = components["schemas"]["ProblemCode"];

/** Where rejoin is, and how patient the client is. */
export interface RejoinOptions extends RetryOptions {
  /** Such as `http://rejoin:8080`. */
  baseUrl: string;
  /** An API key. It belongs on servers: whoever has it can read the states of all players. */
  apiKey?: string;
  /** The `fetch` to use; the global one by default. */
  fetch?: (request: Request) => Promise<Response>;
}

/** Which state to resume. */
export interface ResumeOptions {
  /** Only of peers in this room. */
  roomId?: string;
  /** Not of this peer: the new one of the player. */
  excludePeerId?: string;
  /** Only if it was observed at most this many seconds ago. */
  maxAge?: number;
  /** Only if its peer dropped. */
  only?: "dropped";
}

/** A client of rejoin. */
export interface Rejoin {
  /** Every operation of the API. An answer has `data` or `error`; nothing is thrown for a failure. */
  api: Client<paths>;
  /**
   * The saved state of a user, or null where there is none that fits.
   *
   * @throws {RejoinError} where rejoin failed, or gave no answer.
   */
  resumeOrNull(userId: string, options?: ResumeOptions): Promise<Resume | null>;
  /**
   * Writes the saved state of a user to a peer that has no metadata yet, and claims it if `claimedBy` is given.
   *
   * @throws {RejoinError} where rejoin failed, or somebody else has claimed the state (`already-claimed`).
   */
  restore(userId: string, to: { roomId: string; peerId: string; claimedBy?: string }): Promise<RestoreAnswer>;
  /**
   * Fetches a peer from 100ms now and saves its metadata.
   *
   * @throws {RejoinError} where rejoin or 100ms failed.
   */
  snapshotPeer(roomId: string, peerId: string): Promise<Snapshot>;
}

/** The problems of a resume that mean: there is no state that fits. */
const NO_STATE: readonly ProblemCode[] = ["no-saved-metadata", "saved-metadata-too-old", "not-dropped"];

/** Makes a client. It connects to nothing yet. */
export function createRejoin(options: RejoinOptions): Rejoin {
  const send = options.fetch ?? ((request: Request) => fetch(request));
  const api = createClient<paths>({
    baseUrl: options.baseUrl,
    headers: options.apiKey === undefined ? {} : { Authorization: `Bearer ${options.apiKey}` },
    fetch: retrying(send, options),
  });
  return {
    api,
    async resumeOrNull(userId, { roomId, excludePeerId, maxAge, only } = {}) {
      const query = {
        ...(roomId === undefined ? {} : { room_id: roomId }),
        ...(excludePeerId === undefined ? {} : { exclude_peer_id: excludePeerId }),
        ...(maxAge === undefined ? {} : { max_age: maxAge }),
        ...(only === undefined ? {} : { only }),
      };
      const params = { path: { user_id: userId }, query };
      const { data, error, response } = await answered(api.GET("/v1/users/{user_id}/resume", { params }));
      if (data !== undefined) return data;
      const failure = RejoinError.of(response, error);
      if (failure.code !== null && NO_STATE.includes(failure.code)) return null;
      throw failure;
    },
    async restore(userId, { roomId, peerId, claimedBy }) {
      const body = {
        room_id: roomId,
        peer_id: peerId,
        ...(claimedBy === undefined ? {} : { claimed_by: claimedBy }),
      };
      const params = { path: { user_id: userId } };
      const { data, error, response } = await answered(api.POST("/v1/users/{user_id}/resume", { params, body }));
      if (data !== undefined) return data;
      throw RejoinError.of(response, error);
    },
    async snapshotPeer(roomId, peerId) {
      const params = { path: { room_id: roomId, peer_id: peerId } };
      const path = "/v1/rooms/{room_id}/peers/{peer_id}/snapshots";
      const { data, error, response } = await answered(api.POST(path, { params }));
      if (data !== undefined) return data;
      throw RejoinError.of(response, error);
    },
  };
}

/** What a call gives; no answer is a failure like any other. */
async function answered<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw RejoinError.ofNoAnswer(error);
  }
}

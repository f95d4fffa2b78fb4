// What a game server does with rejoin: it saves what players did, and gives it back to who joins again.
import { SDK } from "@100mslive/server-sdk";
import { createRejoin, RejoinError, type Rejoin } from "rejoin-client";

/** What the game keeps of a player, in the metadata of their peer. */
export interface PlayerState {
  level: number;
  hp: number;
}

const NEW_PLAYER: PlayerState = { level: 1, hp: 100 };

export class GameServer {
  private readonly hms: SDK;
  private readonly rejoin: Rejoin;

  constructor(private readonly name: string) {
    this.hms = new SDK(process.env.HMS_ACCESS_KEY, process.env.HMS_SECRET);
    if (process.env.HMS_BASE_URL !== undefined) {
      // The SDK has no setting for it. Only the simulated 100ms needs it.
      const { api } = this.hms as unknown as { api: { axios: { defaults: { baseURL: string } } } };
      api.axios.defaults.baseURL = process.env.HMS_BASE_URL;
    }
    const apiKey = process.env.REJOIN_API_KEY;
    this.rejoin = createRejoin({
      baseUrl: process.env.REJOIN_URL ?? "http://127.0.0.1:8080",
      ...(apiKey === undefined ? {} : { apiKey }),
    });
  }

  /** A player joined: they go on where they were, or start anew. */
  async playerJoined(roomId: string, peerId: string, userId: string): Promise<PlayerState> {
    const saved = await this.rejoin.resumeOrNull(userId, { excludePeerId: peerId, maxAge: 600 });
    if (saved === null) {
      await this.hms.activeRooms.updatePeer(roomId, peerId, { metadata: JSON.stringify(NEW_PLAYER) });
      return NEW_PLAYER;
    }
    try {
      // rejoin writes it to the peer, unless another server was faster.
      await this.rejoin.restore(userId, { roomId, peerId, claimedBy: this.name });
    } catch (error) {
      if (!(error instanceof RejoinError && error.code === "already-claimed")) throw error;
      console.log(`${this.name}: another server has ${userId}`);
    }
    return readState(saved.metadata_raw);
  }

  /** A player reached something that must not be lost. */
  async checkpoint(roomId: string, peerId: string, state: PlayerState): Promise<void> {
    await this.hms.activeRooms.updatePeer(roomId, peerId, { metadata: JSON.stringify(state) });
    await this.rejoin.snapshotPeer(roomId, peerId);
  }

  /** What 100ms has as the state of a peer. */
  async stateAt100ms(roomId: string, peerId: string): Promise<PlayerState> {
    const peer = await this.hms.activeRooms.retrievePeerDetails(roomId, peerId);
    return readState(peer.metadata);
  }
}

/** Metadata is whatever clients set: look before you trust it. */
function readState(text: string | undefined): PlayerState {
  try {
    const { level, hp } = JSON.parse(text ?? "") as Partial<PlayerState>;
    return {
      level: typeof level === "number" ? level : NEW_PLAYER.level,
      hp: typeof hp === "number" ? hp : NEW_PLAYER.hp,
    };
  } catch {
    return NEW_PLAYER;
  }
}

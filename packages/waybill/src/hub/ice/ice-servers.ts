// The STUN and TURN servers a hub tells of, with credentials made for each peer that asks.
import { type IceServer, type RoomId, type Timestamp, WaybillError } from "@waybill/sdk/protocol";
import type { Clock } from "../log.ts";
import { turnCredential } from "./turn-credentials.ts";

export type TurnInit = {
  /** Shared with the TURN servers (coturn's `static-auth-secret`). */
  readonly secret: string;
  /** How long a credential is good; at least `MIN_TURN_TTL_MS`. */
  readonly ttlMs: number;
};

export type MintedIceServers = {
  readonly iceServers: IceServer[];
  /** When the credentials end; absent where none are minted. */
  readonly expiresAt?: Timestamp;
};

/** Peers ask again at half of it, and a connection under way must not meet a credential's end while it is set up. */
const MIN_TURN_TTL_MS = 600_000;
export const DEFAULT_TURN_TTL_MS = 3_600_000;

/** RFC 7064 and RFC 7065: a scheme, a host, perhaps a port and a transport. */
const ICE_URL =
  /^(?:stuns?:(?:\[[\da-f:.]+\]|[\w.-]+)(?::\d{1,5})?|turns?:(?:\[[\da-f:.]+\]|[\w.-]+)(?::\d{1,5})?(?:\?transport=(?:udp|tcp))?)$/i;

export class IceServers {
  readonly #servers: () => readonly IceServer[];
  readonly #turn: TurnInit | undefined;
  readonly #clock: Clock;

  /** Servers given with a credential of their own are told as they are. Throws `invalid_request` for a short life. */
  constructor(init: {
    readonly servers: () => readonly IceServer[];
    readonly turn?: TurnInit | undefined;
    readonly clock: Clock;
  }) {
    if (init.turn !== undefined && init.turn.ttlMs < MIN_TURN_TTL_MS) {
      const text = `TURN credentials live ${MIN_TURN_TTL_MS / 60_000} minutes at least`;
      throw new WaybillError("invalid_request", text);
    }
    this.#servers = init.servers;
    this.#turn = init.turn;
    this.#clock = init.clock;
  }

  /** The servers, for one user of one room: a peer id, or a key's thumbprint. */
  mint(room: RoomId, user: string): MintedIceServers {
    const servers = this.#servers();
    const turn = this.#turn;
    if (turn === undefined || !servers.some(needsCredential)) return { iceServers: [...servers] };
    const expiresAtMs = Math.floor((this.#clock() + turn.ttlMs) / 1000) * 1000;
    const credential = turnCredential(turn.secret, `${room}/${user}`, expiresAtMs);
    return {
      iceServers: servers.map((one) => (needsCredential(one) ? { ...one, ...credential } : one)),
      expiresAt: new Date(expiresAtMs).toISOString(),
    };
  }
}

/**
 * Servers as an operator names them, by their URLs. Throws `invalid_request` for what is no STUN or TURN URL, and
 * for a TURN server nobody could use because there is no secret.
 */
export function iceServersOf(urls: readonly string[], hasSecret: boolean): IceServer[] {
  for (const url of urls) {
    if (ICE_URL.test(url)) continue;
    throw new WaybillError("invalid_request", `${url} is no address of a STUN or TURN server`, {
      hint: "they look like stun:host:3478 or turn:host:3478?transport=udp",
    });
  }
  const turn = urls.find(isTurn);
  if (turn !== undefined && !hasSecret) {
    throw new WaybillError("invalid_request", `${turn} needs the secret the TURN server has`, {
      hint: "give it in WAYBILL_TURN_SECRET or with --turn-secret-file",
    });
  }
  return urls.map((url) => ({ urls: [url] }));
}

function needsCredential({ urls, username }: IceServer): boolean {
  return username === undefined && urls.some(isTurn);
}

function isTurn(url: string): boolean {
  return /^turns?:/i.test(url);
}

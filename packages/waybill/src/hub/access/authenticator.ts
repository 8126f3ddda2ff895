// From headers (or a signaling hello) to a caller: token, proof, key binding, revocation. What a caller may
// do is decided by the route table, not here.
import { type RoomId, type TokenClaims, WaybillError, type PeerToHub } from "@waybill/sdk/protocol";
import type { Caller } from "../http/handler.ts";
import type { Clock } from "../log.ts";
import type { RoomDirectory } from "../rooms/room-directory.ts";
import { type Proof, ProofVerifier, type ProvenRequest } from "./proof.ts";
import { ReplayCache } from "./replay-cache.ts";
import type { Tokens } from "./tokens.ts";

export type RequestCredentials = {
  readonly authorization: string | undefined;
  readonly dpop: string | undefined;
  readonly method: string;
  /** As in the request line, without query. */
  readonly path: string;
};

type Hello = Extract<PeerToHub, { type: "hello" }>;
export type HelloCredentials = Pick<Hello, "token" | "proof" | "publicKey">;

export class Authenticator {
  readonly #tokens: Tokens;
  readonly #rooms: RoomDirectory;
  readonly #clock: Clock;
  readonly #proofs = new ProofVerifier();
  readonly #replays = new ReplayCache();

  constructor(init: {
    readonly tokens: Tokens;
    readonly rooms: RoomDirectory;
    readonly clock: Clock;
  }) {
    this.#tokens = init.tokens;
    this.#rooms = init.rooms;
    this.#clock = init.clock;
  }

  /** Who sends a request; throws `unauthorized`, `token_expired`, or `not_found` for a room that is gone. */
  async authenticate(request: RequestCredentials): Promise<Caller> {
    const { token, scheme } = parseAuthorization(request.authorization);
    const claims = await this.#tokens.verify(token);
    const { method, path, dpop } = request;
    const proof = dpop === undefined ? undefined : await this.#check(dpop, { method, path, token });
    if (proof === undefined && (claims.cnf !== undefined || scheme === "DPoP")) {
      throw new WaybillError("unauthorized", "the request lacks the proof of possession", {
        hint: "send a DPoP header made with the key the token is bound to",
      });
    }
    const caller = await this.#callerOf(claims, proof);
    this.#admit(caller, proof);
    return caller;
  }

  /**
   * Who opens a signaling socket of `room` with this hello; `path` is the socket's. Throws `unauthorized`,
   * `token_expired`, `forbidden` when the token is another room's, `not_found`.
   */
  async authenticateHello(
    room: RoomId,
    hello: HelloCredentials,
    path: string,
  ): Promise<{ readonly caller: Caller; readonly thumbprint: string }> {
    const claims = await this.#tokens.verify(hello.token);
    const proof = await this.#check(hello.proof, { method: "GET", path, token: hello.token });
    if (proof.publicKey !== hello.publicKey) {
      throw new WaybillError("unauthorized", "the hello's proof was made by another key");
    }
    const caller = await this.#callerOf(claims, proof);
    if (caller.room !== room) throw wrongRoom(caller.room, room);
    this.#admit(caller, proof);
    return { caller, thumbprint: proof.thumbprint };
  }

  async #check(text: string, request: ProvenRequest): Promise<Proof> {
    return this.#proofs.verify(text, request, this.#clock());
  }

  /** Throws `unauthorized` for a proof that was used before. */
  #admit({ jkt, tokenId }: Caller, proof: Proof | undefined): void {
    if (proof === undefined) return;
    // Anybody may make keys, but only the token's own counts; a token without one stands for itself.
    const maker = jkt ?? tokenId;
    if (this.#replays.admit(maker, proof.jti, proof.issuedMs, this.#clock())) return;
    throw new WaybillError("unauthorized", "the proof of possession was used before", {
      hint: "make a fresh proof for every request",
    });
  }

  async #callerOf(claims: TokenClaims, proof: Proof | undefined): Promise<Caller> {
    const bound = claims.cnf?.jkt;
    if (bound !== undefined && bound !== proof?.thumbprint) {
      throw new WaybillError("unauthorized", "the token is bound to another key", {
        hint: "a token works only with the key it was issued to; join with this one",
      });
    }
    const room = await this.#rooms.get(claims.room);
    // A room of the same name on a wiped bucket is another room.
    if (claims.iat + 1 < Math.floor(Date.parse(room.createdAt) / 1000)) {
      throw new WaybillError("unauthorized", `the token is older than room ${claims.room}`);
    }
    if (claims.key !== undefined) {
      const key = room.workerKeys.find((known) => known.id === claims.key);
      if (key === undefined || key.revokedAt !== undefined) {
        throw new WaybillError("unauthorized", "the worker key has been revoked", {
          hint: "ask the room's owner for another one",
        });
      }
    }
    return {
      room: claims.room,
      role: claims.role,
      subject: bound ?? "owner",
      tokenId: claims.jti,
      ...(bound === undefined ? {} : { jkt: bound }),
      ...(proof === undefined ? {} : { proofKey: proof.thumbprint }),
      ...(claims.key === undefined ? {} : { workerKey: claims.key }),
    };
  }
}

/** A token of one room says nothing in another. */
export function wrongRoom(tokenRoom: RoomId, room: string): WaybillError {
  return new WaybillError("forbidden", `the token is for room ${tokenRoom}, not for ${room}`, {
    hint: `use the token of room ${room}`,
  });
}

function parseAuthorization(header: string | undefined): {
  token: string;
  scheme: "DPoP" | "Bearer";
} {
  const match = /^(dpop|bearer) +([\w.~+/-]+=*)$/i.exec(header?.trim() ?? "");
  const token = match?.[2];
  if (token === undefined) {
    const what =
      header === undefined ? "the request has no token" : "the token header is malformed";
    throw new WaybillError("unauthorized", what, {
      hint: "create a room or join one first, then use its token",
    });
  }
  return { token, scheme: match?.[1]?.toLowerCase() === "bearer" ? "Bearer" : "DPoP" };
}

// Room tokens: JWTs signed by the hub's secret (HS256). Only hubs read them; to everybody else they are
// opaque. A token with `cnf` is useless without the private key it names.
import { type RoomId, type Role, TokenClaims, WaybillError } from "@waybill/sdk/protocol";
import { SignJWT, errors, jwtVerify } from "jose";
import { randomUUID } from "node:crypto";
import * as v from "valibot";
import type { Clock } from "../log.ts";

const TYPE = "waybill+jwt";

export type TokenRights = {
  readonly room: RoomId;
  readonly role: Role;
  /** Thumbprint of the key it is bound to; a bearer token without. */
  readonly jkt?: string | undefined;
  /** Worker key it was minted for. */
  readonly key?: string | undefined;
};

export type IssuedToken = { readonly token: string; readonly expiresAt: string };

/** Tokens of recent callers whose signature was found right. */
const MAX_KNOWN = 1024;

export class Tokens {
  readonly #secret: Uint8Array;
  readonly #clock: Clock;
  readonly #known = new Map<string, TokenClaims>();

  constructor(init: { readonly secret: Uint8Array; readonly clock: Clock }) {
    this.#secret = init.secret;
    this.#clock = init.clock;
  }

  /** A token good until `expiresAtMs`. */
  async issue(rights: TokenRights, expiresAtMs: number): Promise<IssuedToken> {
    const expiresSeconds = Math.floor(expiresAtMs / 1000);
    const token = await new SignJWT({
      room: rights.room,
      role: rights.role,
      ...(rights.jkt === undefined ? {} : { cnf: { jkt: rights.jkt } }),
      ...(rights.key === undefined ? {} : { key: rights.key }),
    })
      .setProtectedHeader({ alg: "HS256", typ: TYPE })
      .setJti(randomUUID())
      .setIssuedAt(Math.floor(this.#clock() / 1000))
      .setExpirationTime(expiresSeconds)
      .sign(this.#secret);
    return { token, expiresAt: new Date(expiresSeconds * 1000).toISOString() };
  }

  /** Claims of a token of this hub; throws `unauthorized` or `token_expired`, never naming the token. */
  async verify(token: string): Promise<TokenClaims> {
    const known = this.#known.get(token);
    if (known === undefined) return this.#check(token);
    if (known.exp * 1000 > this.#clock()) return known;
    this.#known.delete(token);
    throw expired();
  }

  async #check(token: string): Promise<TokenClaims> {
    try {
      const { payload } = await jwtVerify(token, this.#secret, {
        algorithms: ["HS256"],
        typ: TYPE,
        currentDate: new Date(this.#clock()),
        requiredClaims: ["exp", "iat", "jti"],
      });
      const claims = v.safeParse(TokenClaims, payload);
      if (claims.success) {
        this.#known.set(token, claims.output);
        const oldest = this.#known.keys().next();
        if (this.#known.size > MAX_KNOWN && oldest.done !== true) this.#known.delete(oldest.value);
        return claims.output;
      }
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw expired();
      if (!(error instanceof errors.JOSEError)) throw error;
    }
    throw new WaybillError("unauthorized", "the token is not one of this hub", {
      hint: "join the room on this hub: `waybill room join CODE`",
    });
  }
}

function expired(): WaybillError {
  return new WaybillError("token_expired", "the token has expired", {
    hint: "join the room again with a fresh invite code",
  });
}

// Keeps the worker's token fresh: renewed after half of its life, so that a worker that is on all year needs
// nobody.
import type { RoomId } from "@waybill/sdk/protocol";
import { messageOf } from "@waybill/sdk/protocol";
import { decodeJwt } from "jose";
import type { HubCalls, Log } from "./ports.ts";

export type TokenRenewalInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly token: () => string | undefined;
  /** Takes a fresh token: for the next request, the next hello and the disk. */
  readonly onToken: (token: string) => void | Promise<void>;
  readonly now: () => number;
  readonly log: Log;
};

/** How often the token's age is looked at. */
const LOOK_MS = 10 * 60_000;

export class TokenRenewal {
  readonly #init: TokenRenewalInit;
  readonly #stopped = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<void> | undefined;

  constructor(init: TokenRenewalInit) {
    this.#init = init;
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#look();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopped.abort();
    await this.#renewing;
  }

  #look(): void {
    if (!isHalfOver(this.#init.token(), this.#init.now())) return;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
  }

  async #renew(): Promise<void> {
    const { hub, room, onToken, log } = this.#init;
    try {
      const { token } = await hub.call(
        "renewToken",
        { params: { room } },
        { signal: this.#stopped.signal },
      );
      await onToken(token);
    } catch (error) {
      if (!this.#stopped.signal.aborted) {
        log("warn", `cannot renew the worker's token: ${messageOf(error)}`);
      }
    }
  }
}

/** Whether more than half of a token's life is over; a token that cannot be read is left alone. */
export function isHalfOver(token: string | undefined, nowMs: number): boolean {
  if (token === undefined) return false;
  try {
    const { iat, exp } = decodeJwt(token);
    if (iat === undefined || exp === undefined) return false;
    return nowMs / 1000 > (iat + exp) / 2;
  } catch {
    return false;
  }
}

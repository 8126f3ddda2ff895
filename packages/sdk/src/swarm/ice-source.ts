// The ICE servers and policy of the moment: what the welcome gave, fresh ones when its credentials end soon, and
// `relay` when either the room or this peer says so.
import type { IcePolicy, IceServer } from "../protocol/index.ts";
import type { Clock } from "./clock.ts";
import type { SignalingPort } from "./signaling-port.ts";

export type IceServers = {
  readonly iceServers: readonly IceServer[];
  /** RFC 3339; credentials are refused afterwards. */
  readonly expiresAt?: string | undefined;
};

export type IceNow = {
  readonly servers: readonly IceServer[];
  readonly policy: IcePolicy;
  /** By `clock`; undefined when they do not end. */
  readonly endsAtMs: number | undefined;
};

/** Credentials that end sooner are not begun with, and connections that live on them are replaced. */
export const ICE_MARGIN_MS = 60_000;

export type IceSourceInit = {
  readonly signaling: SignalingPort;
  readonly clock: Clock;
  /** Milliseconds since 1970, as the hub counts. */
  readonly epochMs: () => number;
  readonly icePolicy: IcePolicy;
  readonly fetch: (() => Promise<IceServers>) | undefined;
  readonly onProblem: (cause: unknown) => void;
};

export class IceSource {
  readonly #init: IceSourceInit;
  #roomPolicy: IcePolicy;
  #fetched:
    | { readonly servers: readonly IceServer[]; readonly endsAtMs: number | undefined }
    | undefined;
  #fetching: Promise<void> | undefined;

  constructor(init: IceSourceInit) {
    this.#init = init;
    this.#roomPolicy = init.signaling.welcome?.icePolicy ?? "all";
  }

  get policy(): IcePolicy {
    return this.#init.icePolicy === "relay" ? "relay" : this.#roomPolicy;
  }

  /** The room's policy, from a welcome or `ice.policy`. True when that changes ours. */
  setRoomPolicy(policy: IcePolicy): boolean {
    const before = this.policy;
    this.#roomPolicy = policy;
    return this.policy !== before;
  }

  /** The welcome's servers count again. */
  welcomed(): void {
    this.#fetched = undefined;
  }

  /** For a connection that begins now: at once unless the credentials must be asked for. */
  now(): IceNow | Promise<IceNow> {
    const known = this.#known();
    if (this.#init.fetch === undefined || !this.#endsSoon(known.endsAtMs)) return known;
    return this.#refresh(this.#init.fetch);
  }

  #known(): IceNow {
    const { policy } = this;
    if (this.#fetched !== undefined) return { ...this.#fetched, policy };
    const { welcome } = this.#init.signaling;
    const endsAtMs = this.#endOf(welcome?.iceExpiresAt);
    return { servers: welcome?.iceServers ?? [], policy, endsAtMs };
  }

  async #refresh(fetch: () => Promise<IceServers>): Promise<IceNow> {
    this.#fetching ??= this.#fetch(fetch).finally(() => {
      this.#fetching = undefined;
    });
    await this.#fetching;
    return this.#known();
  }

  async #fetch(fetch: () => Promise<IceServers>): Promise<void> {
    try {
      const { iceServers, expiresAt } = await fetch();
      this.#fetched = { servers: iceServers, endsAtMs: this.#endOf(expiresAt) };
    } catch (cause) {
      // The old ones may still do, or a direct pair.
      this.#init.onProblem(cause);
    }
  }

  #endOf(expiresAt: string | undefined): number | undefined {
    if (expiresAt === undefined) return undefined;
    const { clock, epochMs } = this.#init;
    return clock.now() + Date.parse(expiresAt) - epochMs();
  }

  #endsSoon(endsAtMs: number | undefined): boolean {
    return endsAtMs !== undefined && endsAtMs - this.#init.clock.now() < ICE_MARGIN_MS;
  }
}

// Performs what the machines of lease-machine.ts say, on a volume. Decides nothing.
import { stat } from "node:fs/promises";
import { type ArtifactId, WaybillError, assertNever } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import type { CacheOwners } from "./cache-owners.ts";
import {
  type CacheVolume,
  GONE,
  type LeaseName,
  leaseText,
  newNonce,
  ownedText,
  parseLease,
  parseOwned,
} from "./cache-volume.ts";
import type {
  Effect,
  Fact,
  LeaseKind,
  Machine,
  OtherLeases,
  Outcome,
  Place,
} from "./lease-machine.ts";

/** Evictors hold their leases for a few renames. */
const PAUSE_MS = 20;
const DONE: Fact = { is: "done" };

export type LeaseRunInit = {
  readonly volume: CacheVolume;
  readonly owners: CacheOwners;
  /** Leases this process has, by their nonces. */
  readonly active: Map<string, LeaseName>;
  readonly artifact: ArtifactId;
  readonly look: () => Promise<Place>;
  /** Fills a private directory and gives its path; only fillers have it. */
  readonly fill?: (run: LeaseRun) => Promise<string>;
  readonly discard?: () => Promise<void>;
  /** Taking over what this dead process left is what a recoverer does. */
  readonly recovers?: string;
  readonly signal?: AbortSignal | undefined;
};

export class LeaseRun {
  readonly #init: LeaseRunInit;
  /** Of its lease. */
  readonly nonce = newNonce();
  readonly #moved: string[] = [];
  #lease: LeaseName | undefined;
  #filled: string | undefined;
  #error: unknown;
  #isLost = false;

  constructor(init: LeaseRunInit) {
    this.#init = init;
  }

  get artifact(): ArtifactId {
    return this.#init.artifact;
  }

  /** Why a filler failed. */
  get error(): unknown {
    return this.#error;
  }

  /** Whether it failed because others took this process for dead: it has to begin again. */
  get isLost(): boolean {
    return this.#isLost;
  }

  async run<S>(machine: Machine<S>): Promise<Outcome> {
    let step = machine.first;
    try {
      while (!("outcome" in step)) {
        const fact = await this.#perform(step.effect);
        step = machine.next(step.state, fact);
      }
      return step.outcome;
    } catch (error) {
      await this.#recede();
      throw error;
    }
  }

  /** Announces how much a filler will add; 0 takes it back. */
  async announce(bytes: number): Promise<void> {
    const lease = this.#lease;
    if (lease === undefined) return;
    const { artifact, kind, owner, nonce } = lease;
    await this.#rename({ artifact, kind, owner, nonce, ...(bytes > 0 ? { bytes } : {}) });
  }

  async #perform(effect: Effect): Promise<Fact> {
    const { volume, artifact, signal } = this.#init;
    switch (effect.do) {
      case "lease":
        await this.#write(effect.kind);
        return DONE;
      case "unlease":
        await this.#unlease();
        return DONE;
      case "settle": {
        const lease = this.#lease;
        if (lease !== undefined) {
          const { owner, nonce } = lease;
          await this.#rename({ artifact, kind: "read", owner, nonce });
        }
        return DONE;
      }
      case "leases":
        return { is: "leases", others: await this.#others() };
      case "pause":
        await delay(PAUSE_MS, signal);
        return DONE;
      case "look":
        await volume.touch("artifacts", this.#init.owners.id);
        return { is: "place", place: await this.#init.look() };
      case "fill":
        return this.#fill();
      case "publish":
        return this.#publish();
      case "discard":
        await this.#init.discard?.();
        return DONE;
      case "move":
        return this.#move();
      case "put back": {
        const last = this.#moved.at(-1);
        if (last === undefined) return DONE;
        const came = await volume.renameTo(last, volume.path("artifacts", artifact));
        if (came === "taken") return { is: "taken" };
        this.#moved.pop();
        return DONE;
      }
      case "condemn":
        await this.#condemn();
        return DONE;
      case "delete":
        for (const path of this.#moved) await volume.remove(path);
        return DONE;
      default:
        return assertNever(effect);
    }
  }

  async #write(kind: LeaseKind): Promise<void> {
    const { volume, owners, active, artifact } = this.#init;
    const lease = { artifact, kind, owner: owners.id, nonce: this.nonce };
    this.#lease = lease;
    active.set(lease.nonce, lease);
    await volume.writeLease(lease);
  }

  async #unlease(): Promise<void> {
    const { volume, active } = this.#init;
    // It may have a new name since this process was announced anew.
    const lease = active.get(this.nonce);
    active.delete(this.nonce);
    this.#lease = undefined;
    if (lease !== undefined) await volume.unlink(volume.leasePath(lease));
  }

  async #rename(to: LeaseName): Promise<void> {
    const { volume, active } = this.#init;
    const from = active.get(this.nonce);
    if (from === undefined) return;
    const next = { ...to, owner: from.owner };
    active.set(this.nonce, next);
    this.#lease = next;
    if (leaseText(from) === leaseText(next)) return;
    await volume.rename(volume.leasePath(from), volume.leasePath(next));
  }

  async #others(): Promise<OtherLeases> {
    const { volume, owners, active, artifact } = this.#init;
    const found = { readers: false, fillers: false, evictors: false };
    for (const name of await volume.fresh("leases", owners.id)) {
      if (!name.startsWith(artifact)) continue;
      const lease = parseLease(name);
      if (lease === undefined || lease.nonce === this.nonce) continue;
      const isMine = lease.owner === owners.id;
      const isLive = isMine ? active.has(lease.nonce) : await owners.isLive(lease.owner);
      if (!isLive) continue;
      if (lease.kind === "read") found.readers = true;
      else if (lease.kind === "evict") found.evictors = true;
      else if (await this.#isBefore(lease)) found.fillers = true;
    }
    return found;
  }

  /** Whether another filler came before this one; everyone else minds every filler. */
  async #isBefore(other: LeaseName): Promise<boolean> {
    const { volume, active } = this.#init;
    const own = active.get(this.nonce);
    if (own?.kind !== "fill") return true;
    const theirs = await mtimeOf(volume.leasePath(other));
    const mine = await mtimeOf(volume.leasePath(own));
    if (theirs === undefined || mine === undefined) return theirs !== undefined;
    // Clocks of file systems tick every few milliseconds: with equal times it is not known who has seen whom.
    return theirs <= mine;
  }

  async #fill(): Promise<Fact> {
    const { fill } = this.#init;
    if (fill === undefined) throw new TypeError("nothing fills here");
    try {
      this.#filled = await fill(this);
      return DONE;
    } catch (error) {
      this.#error = error;
      return { is: "failed" };
    }
  }

  async #publish(): Promise<Fact> {
    const { volume, owners, artifact } = this.#init;
    const from = this.#filled;
    // Others may have given this process up and gone on with what it filled.
    if (from === undefined || !(await owners.isSure()))
      return this.#failed("its lease could not be renewed");
    const came = await volume.renameTo(from, volume.path("artifacts", artifact));
    if (came === "done") return DONE;
    if (came === "taken") return { is: "taken" };
    // A network file system may do it, lose the answer, and be asked again.
    const ready = await volume.ready(artifact);
    const isMine = ready?.fill !== undefined && from.endsWith(ready.fill);
    return isMine ? DONE : this.#failed("what was filled is gone");
  }

  #failed(why: string): Fact {
    this.#isLost = true;
    this.#error = new WaybillError("local_io", `the lease on a cached artifact was lost: ${why}`);
    return { is: "failed" };
  }

  async #move(): Promise<Fact> {
    const { volume, owners, artifact, recovers } = this.#init;
    const to = this.#trashPath(artifact);
    if (recovers === undefined) {
      const came = await volume.renameTo(volume.path("artifacts", artifact), to);
      if (came === "absent") return { is: "absent" };
    } else {
      const left = (await volume.fresh("trash", owners.id)).find((name) => {
        const owned = parseOwned(name);
        return owned?.what === artifact && owned.owner === recovers;
      });
      if (left === undefined || !(await volume.rename(volume.path("trash", left), to))) {
        return { is: "absent" };
      }
    }
    this.#moved.push(to);
    return DONE;
  }

  async #condemn(): Promise<void> {
    const { volume } = this.#init;
    for (const [at, from] of this.#moved.entries()) {
      const to = this.#trashPath(GONE);
      this.#moved[at] = (await volume.rename(from, to)) ? to : from;
    }
  }

  #trashPath(what: string): string {
    const { volume, owners } = this.#init;
    return volume.path("trash", ownedText({ what, owner: owners.id, nonce: newNonce() }));
  }

  /** After an error of the disk: what can be put back is. */
  async #recede(): Promise<void> {
    const { volume, artifact } = this.#init;
    const last = this.#moved.at(-1);
    const back = volume.path("artifacts", artifact);
    if (last !== undefined) await volume.renameTo(last, back).catch(() => undefined);
    await this.#unlease().catch(() => undefined);
  }
}

async function mtimeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mtimeMs;
  } catch {
    return undefined;
  }
}

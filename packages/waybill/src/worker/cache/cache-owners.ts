// Processes that use a cache. Each has a file that it writes anew as long as it lives; its leases are worth what that
// file is. Of a process on the same machine the operating system says whether it lives; of others the age of the file
// does, by the volume's own clock: the time it gives a file that was written just now.
import { open, readlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import * as v from "valibot";
import { hasCode, readIfThere } from "../data-dir/files.ts";
import { processStartId } from "../trainers/proc.ts";
import { type CacheVolume, newNonce } from "./cache-volume.ts";

/** Where a process runs, so that others there can see whether it still does. */
export type ProcessPlace = {
  readonly host: string;
  /** Boot and space of process ids: equal only for processes that see each other. */
  readonly system: string;
  readonly pid: number;
  /** Tells this life of the process id from others. */
  readonly started: string;
};

const Owner = v.object({
  format: v.literal(1),
  host: v.string(),
  system: v.string(),
  pid: v.number(),
  started: v.string(),
});

export type OwnerTiming = {
  /** Between two renewals. */
  readonly renewMs: number;
  /** Own leases count for nothing, for this process, when they could not be renewed for so long. */
  readonly sureMs: number;
  /** For others they do only after this: a network file system may show times that are a minute old. */
  readonly expiryMs: number;
};

/** Linux shows attributes of a network file system up to 60 s late (acregmax): 60 + 60 + 60. */
const OWNER_TIMING: OwnerTiming = { renewMs: 15_000, sureMs: 60_000, expiryMs: 180_000 };

export type CacheOwnersInit = {
  readonly volume: CacheVolume;
  readonly timing?: Partial<OwnerTiming>;
  /** Default: this process. */
  readonly place?: ProcessPlace;
  readonly onLost: () => void;
};

export class CacheOwners {
  readonly #init: CacheOwnersInit;
  readonly #timing: OwnerTiming;
  readonly #dead = new Set<string>();
  #id = "";
  #place: ProcessPlace | undefined;
  #renewedMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<unknown> = Promise.resolve();

  constructor(init: CacheOwnersInit) {
    this.#init = init;
    this.#timing = { ...OWNER_TIMING, ...init.timing };
  }

  /** Of this process; new after every `register`. */
  get id(): string {
    return this.#id;
  }

  /**
   * Whether others must still take its leases for good. A machine that slept has not seen the time go by, so the file is
   * looked for as well.
   */
  async isSure(): Promise<boolean> {
    const wasSure = performance.now() - this.#renewedMs < this.#timing.sureMs;
    return wasSure && (await this.renew()) !== undefined;
  }

  /** Announces this process under a new id. */
  async register(): Promise<void> {
    this.#place ??= this.#init.place ?? (await ownPlace());
    this.#id = newNonce();
    await writeFile(this.#path(this.#id), this.#text(), { flag: "wx", mode: 0o600 });
    this.#renewedMs = performance.now();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      this.#renewing = this.renew().catch(() => undefined);
    }, this.#timing.renewMs);
    this.#timer.unref();
  }

  /** Renews, and gives the volume's time. When others have removed the file, `onLost` is called. */
  async renew(): Promise<number | undefined> {
    const startMs = performance.now();
    const id = this.#id;
    try {
      const file = await open(this.#path(id), "r+");
      try {
        await file.write(this.#text(), 0);
        await file.datasync();
        const { mtimeMs } = await file.stat();
        this.#renewedMs = startMs;
        return mtimeMs;
      } finally {
        await file.close();
      }
    } catch (error) {
      if (!hasCode(error, "ENOENT") && !hasCode(error, "ESTALE")) throw error;
      this.#renewedMs = Number.NEGATIVE_INFINITY;
      if (id === this.#id) this.#init.onLost();
      return undefined;
    }
  }

  /** Whether a process other than this one lives, as far as anybody can know. */
  async isLive(owner: string): Promise<boolean> {
    if (owner === this.#id) return true;
    if (this.#dead.has(owner)) return false;
    const isLive = await this.#judge(owner);
    // Ids are never used again.
    if (!isLive) this.#dead.add(owner);
    return isLive;
  }

  async #judge(owner: string): Promise<boolean> {
    const text = await readIfThere(this.#path(owner));
    if (text === undefined) return false;
    const place = this.#place;
    const found = parseOwner(text);
    if (found !== undefined && place !== undefined && found.system === place.system) {
      return (await processStartId(found.pid)) === found.started;
    }
    const mtimeMs = await this.#init.volume.mtimeMs(this.#path(owner));
    if (mtimeMs === undefined) return false;
    const nowMs = await this.renew();
    return nowMs === undefined || nowMs - mtimeMs < this.#timing.expiryMs;
  }

  /** What is known of a process, for people: `123 on pod-7`. */
  async describe(owner: string): Promise<string> {
    const found = parseOwner((await readIfThere(this.#path(owner))) ?? "");
    return found === undefined ? "a process that is gone" : `process ${found.pid} on ${found.host}`;
  }

  async forget(owner: string): Promise<void> {
    await this.#init.volume.unlink(this.#path(owner));
  }

  /** Takes this process's file away; its leases must be gone. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#renewing;
    if (this.#id !== "") await this.forget(this.#id);
    this.#renewedMs = Number.NEGATIVE_INFINITY;
  }

  #path(owner: string): string {
    return this.#init.volume.path("owners", owner);
  }

  #text(): string {
    return `${JSON.stringify({ format: 1, ...this.#place })}\n`;
  }
}

function parseOwner(text: string): v.InferOutput<typeof Owner> | undefined {
  try {
    return v.parse(Owner, JSON.parse(text));
  } catch {
    // Written just now and not yet to be read, or not by us: its time decides.
    return undefined;
  }
}

/** This process, as others on its machine can find it. */
export async function ownPlace(): Promise<ProcessPlace> {
  const started = (await processStartId(process.pid)) ?? "unknown";
  const host = hostname();
  // A container is a host of its own, though it shares the boot with others.
  const space = await readlink("/proc/self/ns/pid").catch(() => host);
  const boot = started.slice(0, Math.max(0, started.indexOf(":")));
  return { host, system: `${boot || host} ${space}`, pid: process.pid, started };
}

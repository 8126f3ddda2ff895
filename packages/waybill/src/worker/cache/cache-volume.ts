// The directories of a cache and what may be done in them (docs/protocol/cache.md §2, §3). A volume may be shared by
// machines that see changes late: what safety depends on is asked after a change of one's own in the same directory,
// which makes a network file system look again.
//
//   artifacts/{id}/                   files/, artifact.json, ready.json: complete; never changed, only replaced
//   filling/{id}.{owner}.{nonce}/     the same, on its way; `{id}.free.{nonce}`: anybody's to go on with
//   trash/{id}.{owner}.{nonce}/       moved away, may be put back; `gone.{owner}.{nonce}`: only to be deleted
//   leases/{id}.{kind}.{owner}.{nonce}[.{bytes}]
//   owners/{owner}                    who that is; renewed as long as it lives
//   pins/{id}, used/{id}              kept in any case; the time of the last use
import { mkdir, open, readdir, rename, rm, stat, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { ArtifactId, MANIFEST_KEY, cryptoRandom, randomText } from "@waybill/sdk/protocol";
import { removeTree } from "../data-dir/data-dir.ts";
import { hasCode, readIfThere } from "../data-dir/files.ts";
import type { LeaseKind } from "./lease-machine.ts";

export type Folder = "artifacts" | "filling" | "trash" | "leases" | "owners" | "pins" | "used";
const FOLDERS: readonly Folder[] = [
  "artifacts",
  "filling",
  "trash",
  "leases",
  "owners",
  "pins",
  "used",
];

/** What `ready.json` says: size, a print of every file's state, and which filling this was. */
const Ready = v.object({ bytes: v.number(), state: v.string(), fill: v.optional(v.string()) });
export type Ready = v.InferOutput<typeof Ready>;

/** Names of private directories nobody works in. */
export const FREE = "free";
/** Names of what is only to be deleted. */
export const GONE = "gone";

export type LeaseName = {
  readonly artifact: ArtifactId;
  readonly kind: LeaseKind;
  readonly owner: string;
  readonly nonce: string;
  /** Of a filler: what it will add. */
  readonly bytes?: number;
};

export type OwnedName = {
  /** An artifact's id, or `gone`. */
  readonly what: string;
  /** An owner, or `free`. */
  readonly owner: string;
  readonly nonce: string;
};

/** 12 characters of `[a-z0-9]`: 60 bits. */
export function newNonce(): string {
  return randomText(12, cryptoRandom);
}

export class CacheVolume {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** A path below one of the cache's directories. */
  path(folder: Folder, ...rest: readonly string[]): string {
    return join(this.root, folder, ...rest);
  }

  async prepare(): Promise<void> {
    for (const folder of FOLDERS) await mkdir(this.path(folder), { recursive: true, mode: 0o700 });
  }

  /** Names in a directory; after a change of our own there, so that no old listing is shown. */
  async fresh(folder: Folder, owner: string): Promise<string[]> {
    await this.touch(folder, owner);
    return this.names(folder);
  }

  /** Changes a directory and leaves nothing there. */
  async touch(folder: Folder, owner: string): Promise<void> {
    const probe = this.path(folder, `.${owner}.${newNonce()}`);
    await writeFile(probe, "", { flag: "wx", mode: 0o600 });
    await rm(probe, { force: true });
  }

  /** Names in a directory, possibly old ones. */
  async names(folder: Folder): Promise<string[]> {
    try {
      return await readdir(this.path(folder));
    } catch (error) {
      if (hasCode(error, "ENOENT")) return [];
      throw error;
    }
  }

  /** What an artifact's place says of itself; undefined when there is nothing, or nothing complete. */
  async ready(artifact: ArtifactId): Promise<Ready | undefined> {
    return parseReady(await readIfThere(this.path("artifacts", artifact, "ready.json")));
  }

  async hasPlace(artifact: ArtifactId): Promise<boolean> {
    return (await this.#stat("artifacts", artifact)) !== undefined;
  }

  /** Takes the mark of completeness away: what is there is not served any more. */
  async spoil(artifact: ArtifactId): Promise<void> {
    await rm(this.path("artifacts", artifact, "ready.json"), { force: true });
  }

  /** Replaces a file whole, whoever else does so at the same time. */
  async replace(path: string, text: string, owner: string): Promise<void> {
    const temporary = join(dirname(path), `.${owner}.${newNonce()}`);
    await writeFile(temporary, text, { flag: "wx", mode: 0o600 });
    await rename(temporary, path);
  }

  async manifestText(artifact: ArtifactId): Promise<string | undefined> {
    return readIfThere(this.path("artifacts", artifact, MANIFEST_KEY));
  }

  /** Notes that it is used now. */
  async noteUse(artifact: ArtifactId): Promise<void> {
    await writeFile(this.path("used", artifact), "1", { mode: 0o600 });
  }

  /** Milliseconds since 1970 by the volume's clock; 0 when it was never used. */
  async usedMs(artifact: ArtifactId): Promise<number> {
    const used = await this.#stat("used", artifact);
    return (used ?? (await this.#stat("artifacts", artifact, "ready.json")))?.mtimeMs ?? 0;
  }

  async writeLease(lease: LeaseName): Promise<void> {
    await writeFile(this.leasePath(lease), "", { flag: "wx", mode: 0o600 });
  }

  leasePath(lease: LeaseName): string {
    return this.path("leases", leaseText(lease));
  }

  /** One name becomes another, at once. False when it is no longer there. */
  async rename(from: string, to: string): Promise<boolean> {
    try {
      await rename(from, to);
      return true;
    } catch (error) {
      if (hasCode(error, "ENOENT")) return false;
      throw error;
    }
  }

  /** As `rename`, of a directory to where nothing may be. */
  async renameTo(from: string, to: string): Promise<"done" | "taken" | "absent"> {
    try {
      await rename(from, to);
      return "done";
    } catch (error) {
      if (hasCode(error, "ENOENT")) return "absent";
      if (hasCode(error, "ENOTEMPTY") || hasCode(error, "EEXIST")) return "taken";
      throw error;
    }
  }

  async remove(path: string): Promise<void> {
    await removeTree(path);
  }

  async unlink(path: string): Promise<void> {
    try {
      await unlink(path);
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw error;
    }
  }

  /** When a file was written last, by the volume's clock; opened, not only asked for. */
  async mtimeMs(path: string): Promise<number | undefined> {
    try {
      const file = await open(path, "r");
      try {
        return (await file.stat()).mtimeMs;
      } finally {
        await file.close();
      }
    } catch (error) {
      if (hasCode(error, "ENOENT") || hasCode(error, "ESTALE")) return undefined;
      throw error;
    }
  }

  async #stat(folder: Folder, ...rest: readonly string[]) {
    try {
      return await stat(this.path(folder, ...rest));
    } catch (error) {
      if (hasCode(error, "ENOENT") || hasCode(error, "ENOTDIR")) return undefined;
      throw error;
    }
  }
}

export function leaseText({ artifact, kind, owner, nonce, bytes }: LeaseName): string {
  return [artifact, kind, owner, nonce, ...(bytes === undefined ? [] : [bytes])].join(".");
}

/** A lease by its name; undefined when it is none. */
export function parseLease(name: string): LeaseName | undefined {
  const match =
    /^([0-9a-f]{64})\.(read|fill|evict)\.([a-z0-9]{12})\.([a-z0-9]{12})(?:\.(\d{1,16}))?$/.exec(
      name,
    );
  if (match === null) return undefined;
  const [, id, kind, owner = "", nonce = "", bytes] = match;
  const lease = { artifact: v.parse(ArtifactId, id), kind: kind as LeaseKind, owner, nonce };
  return bytes === undefined ? lease : { ...lease, bytes: Number(bytes) };
}

export function ownedText({ what, owner, nonce }: OwnedName): string {
  return `${what}.${owner}.${nonce}`;
}

/** A name in `filling/` or `trash/`. */
export function parseOwned(name: string): OwnedName | undefined {
  const match = /^([0-9a-f]{64}|gone)\.([a-z0-9]{12}|free)\.([a-z0-9]{12})$/.exec(name);
  if (match === null) return undefined;
  const [, what = "", owner = "", nonce = ""] = match;
  return { what, owner, nonce };
}

/** Whose probe, or file that is being written, was left behind. */
export function parseProbe(name: string): string | undefined {
  return /^\.([a-z0-9]{12})\.[a-z0-9]{12}$/.exec(name)?.[1];
}

export function isArtifactId(name: string): name is ArtifactId {
  return v.is(ArtifactId, name);
}

function parseReady(text: string | undefined): Ready | undefined {
  if (text === undefined) return undefined;
  try {
    return v.parse(Ready, JSON.parse(text));
  } catch {
    return undefined;
  }
}

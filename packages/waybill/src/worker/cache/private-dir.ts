// The private directory in which an artifact is filled before it is renamed into place. What a filling that broke off
// has, and what is right of a spoilt artifact, is taken over, so that nothing verified is fetched again (I2).
import {
  chmod,
  constants,
  copyFile,
  link,
  lstat,
  mkdir,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { decodeManifest, manifestPieces } from "@waybill/sdk/artifact";
import {
  type ArtifactId,
  type ArtifactManifest,
  MANIFEST_KEY,
  WaybillError,
} from "@waybill/sdk/protocol";
import { makeWritable, removeTree } from "../data-dir/data-dir.ts";
import type { CacheParts, CacheRoom } from "./cache-room.ts";
import { FREE, newNonce, ownedText, parseOwned } from "./cache-volume.ts";
import { treeState } from "./tree-state.ts";

export class PrivateDir {
  readonly path: string;
  readonly #parts: CacheParts;
  readonly #artifact: ArtifactId;
  readonly #nonce: string;
  readonly #name: string;

  private constructor(parts: CacheParts, artifact: ArtifactId) {
    this.#parts = parts;
    this.#artifact = artifact;
    this.#nonce = newNonce();
    this.#name = ownedText({ what: artifact, owner: parts.owners.id, nonce: this.#nonce });
    this.path = parts.volume.path("filling", this.#name);
    parts.filling.add(this.#name);
  }

  /** Where the artifact's files go. */
  get files(): string {
    return join(this.path, "files");
  }

  static async open(parts: CacheParts, room: CacheRoom, artifact: ArtifactId): Promise<PrivateDir> {
    const dir = new PrivateDir(parts, artifact);
    try {
      const taken = await dir.#takeOver(room);
      await mkdir(dir.files, { recursive: true, mode: 0o700 });
      if (!taken) await dir.#salvage();
      await makeWritable(dir.files);
      if (taken) await dir.#own(dir.files);
      return dir;
    } catch (error) {
      parts.filling.delete(dir.#name);
      throw error;
    }
  }

  /** Goes on with what an earlier filling left; of several processes one gets it. */
  async #takeOver(room: CacheRoom): Promise<boolean> {
    const { volume, owners } = this.#parts;
    for (const name of await volume.fresh("filling", owners.id)) {
      const isOurs = parseOwned(name)?.what === this.#artifact;
      if (!isOurs || !(await room.isAbandoned(name))) continue;
      if (await volume.rename(volume.path("filling", name), this.path)) return true;
    }
    // Before fillings were private, they broke off in place.
    const place = volume.path("artifacts", this.#artifact);
    const isWhole = (await volume.manifestText(this.#artifact)) !== undefined;
    return !isWhole && volume.rename(place, this.path);
  }

  /** Links or copies what lies in a spoilt artifact's place; the pull reads and checks all of it. */
  async #salvage(): Promise<void> {
    const { volume } = this.#parts;
    const text = await volume.manifestText(this.#artifact);
    if (text === undefined) return;
    let manifest: ArtifactManifest;
    try {
      manifest = decodeManifest(text, this.#artifact);
    } catch {
      return;
    }
    const from = volume.path("artifacts", this.#artifact, "files");
    for (const { path } of manifest.files) {
      const to = join(this.files, path);
      await mkdir(dirname(to), { recursive: true, mode: 0o700 });
      // What cannot be had is fetched.
      await this.#take(join(from, path), to).catch(() => rm(to, { force: true }));
    }
  }

  /** A file that has other names, as in a job's folder, is copied: who has it could write to it after it was checked. */
  async #take(from: string, to: string): Promise<void> {
    const { nlink, size } = await lstat(from);
    if (nlink === 1) await link(from, to);
    else await this.#copy(from, to, size);
  }

  /** The same for what was taken over, which may be linked to what a job wrote. */
  async #own(dir: string): Promise<void> {
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) {
        await this.#own(path);
        continue;
      }
      const { nlink, size } = await lstat(path);
      if (nlink === 1) continue;
      const copy = join(this.path, newNonce());
      try {
        await this.#copy(path, copy, size);
        await rename(copy, path);
      } catch {
        await rm(copy, { force: true });
        await rm(path, { force: true });
      }
    }
  }

  async #copy(from: string, to: string, bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.path);
    if (bavail * bsize - bytes < this.#parts.limits.minFreeBytes) {
      throw new WaybillError("storage_full", "no room for a copy");
    }
    await copyFile(from, to, constants.COPYFILE_FICLONE);
  }

  /**
   * Makes it complete: read-only, with its manifest, and the mark of completeness last. Throws `source_changed` when its state
   * is not `before` any more.
   */
  async complete({
    manifest,
    bytes,
    state: before,
  }: {
    readonly manifest: ArtifactManifest;
    readonly bytes: number;
    readonly state?: string | undefined;
  }): Promise<void> {
    await makeReadOnly(this.files);
    const text = manifestPieces(manifest);
    await writeFile(join(this.path, MANIFEST_KEY), text, { mode: 0o600 });
    const state = (await treeState(this.files)) ?? "";
    if (before !== undefined && state !== before) {
      await removeTree(this.files);
      throw new WaybillError("source_changed", "its files were changed while they were verified");
    }
    const ready = { bytes, state, fill: this.#nonce };
    await writeFile(join(this.path, "ready.json"), JSON.stringify(ready), { mode: 0o600 });
  }

  /** Leaves it for whoever fills the artifact next, on any machine. */
  async leave(): Promise<void> {
    const { volume, filling } = this.#parts;
    const free = ownedText({ what: this.#artifact, owner: FREE, nonce: this.#nonce });
    await volume.rename(this.path, volume.path("filling", free));
    filling.delete(this.#name);
  }

  /** It is in its place now. */
  published(): void {
    this.#parts.filling.delete(this.#name);
  }

  async remove(): Promise<void> {
    await this.#parts.volume.remove(this.path);
    this.#parts.filling.delete(this.#name);
  }
}

/** Takes write permission from a tree; a trainer that runs as another user or without root cannot change it. */
async function makeReadOnly(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await makeReadOnly(path);
    else if (entry.isFile()) await chmod(path, ((await stat(path)).mode & 0o555) | 0o400);
  }
  await chmod(dir, 0o555);
}

// One filling of an artifact: a pull into a private directory that is published when it is complete. A cache that is full
// of what is in use has no place for it: then the private directory itself is used, and removed after that.
import { type ArtifactId, type ArtifactManifest, WaybillError } from "@waybill/sdk/protocol";
import type { CacheParts, CacheRoom } from "./cache-room.ts";
import type { LeaseRun } from "./lease-run.ts";
import { PrivateDir } from "./private-dir.ts";

/** What a pull is given besides the folder it fills. */
type PullContext = {
  /** Folder with complete artifacts under their ids: older versions lie there. */
  readonly cacheDir: string;
  /** Where the files lie once the artifact is complete; `dir` is no more then. */
  readonly finalDir: string;
  /** To be awaited once it is known how big the artifact is, before anything is written. */
  readonly room: (bytes: number) => Promise<void>;
};

export type PullInto = (
  dir: string,
  context: PullContext,
) => Promise<{
  readonly bytes: number;
  readonly seconds: number;
  readonly sources: Readonly<Record<string, number>>;
  readonly manifest: ArtifactManifest;
  /** Of the folder, before it was verified (`treeState`): where others have its files, too, they must not have changed since. */
  readonly state?: string | undefined;
}>;

export type Filled = {
  readonly dir: string;
  readonly bytes: number;
  readonly seconds: number;
  readonly sources: Readonly<Record<string, number>>;
  readonly release: () => Promise<void>;
};

/** One filling of an artifact: the private directory and what the pull brought. */
export class Filling {
  readonly #parts: CacheParts;
  readonly #room: CacheRoom;
  readonly #artifact: ArtifactId;
  readonly #pull: PullInto;
  readonly #signal: AbortSignal | undefined;
  #dir: PrivateDir | undefined;
  #isKept = true;
  pulled: Awaited<ReturnType<PullInto>> | undefined;

  constructor(
    parts: CacheParts,
    room: CacheRoom,
    artifact: ArtifactId,
    pull: PullInto,
    signal: AbortSignal | undefined,
  ) {
    this.#parts = parts;
    this.#room = room;
    this.#artifact = artifact;
    this.#pull = pull;
    this.#signal = signal;
  }

  /** Gives the directory that is to be published. */
  async fill(run: LeaseRun): Promise<string> {
    const { volume, log } = this.#parts;
    const dir = await PrivateDir.open(this.#parts, this.#room, this.#artifact);
    this.#dir = dir;
    let asked = false;
    const room = async (bytes: number) => {
      asked = true;
      this.#isKept = await this.#room.admit(run, bytes, this.#signal);
      if (this.#isKept) return;
      log("warn", `cache: full of what is in use; ${this.#artifact.slice(0, 12)} is not kept`);
    };
    const pulled = await this.#pull(dir.files, {
      cacheDir: volume.path("artifacts"),
      finalDir: volume.path("artifacts", this.#artifact, "files"),
      room,
    });
    if (!asked) await room(pulled.bytes);
    await dir.complete(pulled);
    this.pulled = pulled;
    if (!this.#isKept) throw new WaybillError("storage_full", "the cache is full");
    return dir.path;
  }

  /** The private directory itself, when the cache had no place for it. */
  get withoutPlace(): Filled | undefined {
    const dir = this.#dir;
    if (this.#isKept || dir === undefined || this.pulled === undefined) return undefined;
    const { bytes, seconds, sources } = this.pulled;
    return { dir: dir.files, bytes, seconds, sources, release: () => dir.remove() };
  }

  /** Another process was first. */
  async discard(): Promise<void> {
    this.pulled = undefined;
    await this.#dir?.remove();
  }

  done(): void {
    this.#dir?.published();
  }

  async leave(): Promise<void> {
    await this.#dir?.leave();
  }
}

// What a cache of artifacts shows to whoever serves them or tells others what is here. Readers hold what they read:
// what is held is not evicted.
import type { ArtifactId, ArtifactManifest } from "@waybill/sdk/protocol";

export type CachedTree = {
  readonly artifact: ArtifactId;
  readonly bytes: number;
  /** When it was last opened; milliseconds since 1970, by the clock of the disk. */
  readonly usedMs: number;
  readonly pinned: boolean;
};

export type HeldTree = {
  /** The artifact's files under their own paths; read only. */
  readonly dir: string;
  readonly manifest: ArtifactManifest;
  readonly bytes: number;
  release(): void;
};

export interface CachedTrees {
  /** Complete artifacts, most recently used first. */
  list(): Promise<readonly CachedTree[]>;
  /** Holds a complete artifact open for reading; undefined when it is not here. Release it. */
  hold(artifact: ArtifactId): Promise<HeldTree | undefined>;
  /** Told after something was added, evicted or found damaged; returns the unsubscriber. */
  onChange(listener: () => void): () => void;
  /** A shard read from here did not match: the artifact is verified, healed or dropped, and not served meanwhile. */
  damaged(artifact: ArtifactId): void;
}

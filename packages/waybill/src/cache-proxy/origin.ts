// Where a regional cache gets artifacts from: the store of its room, and before it another cache, where regions are chained.
import { type GrowingTree, type HubCalls, LinkBook, pullArtifact } from "@waybill/sdk/client";
import { createByteTransport } from "@waybill/sdk/platform";
import type { ArtifactId, ArtifactManifest, RoomId } from "@waybill/sdk/protocol";

export type OriginPull = {
  readonly artifact: ArtifactId;
  readonly dir: string;
  /** Complete artifacts under their ids. */
  readonly cacheDir: string;
  readonly signal: AbortSignal;
  readonly onTree: (tree: GrowingTree) => Promise<void>;
};

export type Origin = {
  /** Makes `dir` hold the artifact, verified; goes on with what is there (I2). */
  pull(request: OriginPull): Promise<{
    readonly bytes: number;
    readonly seconds: number;
    readonly sources: Readonly<Record<string, number>>;
    readonly manifest: ArtifactManifest;
  }>;
  close(): void;
};

export type RoomOriginInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  /** Told of bytes that came over the wire, those of no use included. */
  readonly onReceived: (bytes: number) => void;
};

/** Readers have another way to the store: they are not held up for longer by one that fails. */
const RETRY_MS = 60_000;

export function roomOrigin({ hub, room, onReceived }: RoomOriginInit): Origin {
  // Connections to the store stay open between fills.
  const transport = createByteTransport();
  const links = new LinkBook();
  return {
    pull: async ({ artifact, dir, cacheDir, signal, onTree }) =>
      pullArtifact(hub, {
        room,
        ref: artifact,
        dir,
        cacheDir,
        // Readers wait for what is written.
        readSoon: true,
        overwrite: true,
        retryForMs: RETRY_MS,
        signal,
        transport,
        links,
        onTree,
        onReport: (report) => {
          for (const { kind, bytes, wastedBytes, compressedBytes = 0 } of report) {
            if (kind !== "cache") onReceived(bytes + wastedBytes - compressedBytes);
          }
        },
      }),
    close: () => transport.close(),
  };
}

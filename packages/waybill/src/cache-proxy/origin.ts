// Where a regional cache gets artifacts from: the store of its room, and before it another cache, where regions are chained.
import {
  type GrowingTree,
  LinkBook,
  type PullOptions,
  type SourceReport,
  pullArtifact,
} from "@waybill/sdk/client";
import type { HubClient } from "@waybill/sdk/hub-client";
import { createByteTransport } from "@waybill/sdk/platform";
import type { ArtifactId, ArtifactManifest, RoomId } from "@waybill/sdk/protocol";

export type OriginPull = {
  readonly artifact: ArtifactId;
  readonly dir: string;
  /** Complete artifacts under their ids: what older versions have is not fetched again. */
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

/** Another data server or cache that is asked before the store. */
export type Upstream = {
  readonly url: string;
  /** What it wants; undefined while it is not known. */
  readonly token: (artifact: ArtifactId) => Promise<string | undefined>;
};

export type RoomOriginInit = {
  readonly hub: HubClient;
  readonly room: RoomId;
  readonly upstream?: Upstream | undefined;
  /** Told of bytes that came over the wire, those of no use included. */
  readonly onReceived: (bytes: number) => void;
};

/** Readers have another way to the store: they are not held up for longer by one that fails. */
const RETRY_MS = 60_000;

export function roomOrigin(init: RoomOriginInit): Origin {
  const { hub, room, upstream } = init;
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
        ...(upstream === undefined ? {} : await upstreamOf(upstream, artifact)),
        onTree,
        onReport: (report) => init.onReceived(receivedIn(report)),
      }),
    close: () => transport.close(),
  };
}

/** The upstream as a source that costs nothing; none while its token is not known. */
async function upstreamOf(
  { url, token }: Upstream,
  artifact: ArtifactId,
): Promise<Pick<PullOptions, "mirrors">> {
  const known = await token(artifact);
  if (known === undefined) return {};
  const base = new URL(`${url}/v1/artifacts/${artifact}/objects`);
  base.username = "waybill";
  base.password = known;
  return { mirrors: [base.href] };
}

function receivedIn(report: readonly SourceReport[]): number {
  return report
    .filter(({ kind }) => kind !== "cache")
    .reduce(
      (sum, { bytes, wastedBytes, compressedBytes = 0 }) =>
        sum + bytes + wastedBytes - compressedBytes,
      0,
    );
}

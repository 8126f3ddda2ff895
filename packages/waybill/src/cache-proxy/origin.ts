// Where a regional cache gets artifacts from: the store of its room, and before it another cache, where regions are chained.
import {
  type GrowingTree,
  LinkBook,
  type SourceFactory,
  type SourceReport,
  holderSources,
  pullArtifact,
} from "@waybill/sdk/client";
import type { HubClient } from "@waybill/sdk/hub-client";
import { type ByteTransport, createByteTransport } from "@waybill/sdk/platform";
import {
  type ArtifactId,
  type ArtifactManifest,
  type RoomId,
  WaybillError,
} from "@waybill/sdk/protocol";

type OriginPull = {
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
const RETRY_MS = 20_000;

export function roomOrigin(init: RoomOriginInit): Origin {
  const { hub, room, upstream } = init;
  // Connections to the store stay open between fills.
  const transport = createByteTransport();
  const links = new LinkBook();
  const via = { transport, links };
  return {
    pull: async ({ artifact, dir, cacheDir, signal, onTree }) => {
      await assertReadable(hub, room, artifact, signal);
      return pullArtifact(hub, {
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
        // None that would fetch it: that may be this cache, or one that asks it.
        holders: { which: "whole" },
        sources: upstream === undefined ? [] : await upstreamSources(upstream, artifact, via),
        onTree,
        onReport: (report) => init.onReceived(receivedIn(report)),
      });
    },
    close: () => transport.close(),
  };
}

/** Throws `not_found` for what is not every member's: a checkpoint is for its job's worker alone. */
async function assertReadable(
  hub: HubClient,
  room: RoomId,
  artifact: ArtifactId,
  signal: AbortSignal,
): Promise<void> {
  const input = { params: { room, ref: artifact } };
  const { kind } = await hub.call("resolveArtifact", input, { signal, retryForMs: RETRY_MS });
  if (kind !== "checkpoint") return;
  throw new WaybillError("not_found", `${artifact.slice(0, 12)} is a checkpoint`);
}

/** The upstream as a source that is asked before the store; none while its token is not known. */
async function upstreamSources(
  { url, token }: Upstream,
  artifact: ArtifactId,
  via: { readonly transport: ByteTransport; readonly links: LinkBook },
): Promise<SourceFactory[]> {
  const known = await token(artifact);
  if (known === undefined) return [];
  const name = new URL(url).host;
  return holderSources([{ name, addresses: [{ url, token: known }], fills: true, near: true }], {
    ...via,
    prefer: undefined,
  });
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

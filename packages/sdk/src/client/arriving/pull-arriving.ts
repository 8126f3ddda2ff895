// What a pull needs of an artifact that is still arriving: its manifest, the sources that grow with it, and a signal
// that ends the pull when it has stopped arriving.
import { ShardMap, decodeManifest } from "../../artifact/index.ts";
import type { ByteTransport } from "../../platform/index.ts";
import {
  ANNOUNCED_MANIFEST_BYTES,
  type ArtifactManifest,
  MANIFEST_KEY,
  type ResolvedArtifact,
  type RoomId,
  WaybillError,
} from "../../protocol/index.ts";
import { RangeReader, readManifest } from "../../s3/index.ts";
import type { LinkBook, Source, SourceFactory } from "../../transfer/index.ts";
import type { HubCalls } from "../push.ts";
import { ArrivingFeed } from "./arriving-feed.ts";
import { ArrivingSource } from "./arriving-source.ts";
import { DirectWays } from "./direct-ways.ts";
import type { TreePeers } from "./peer-route.ts";

export type ArrivingInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly record: ResolvedArtifact;
  readonly transport: ByteTransport;
  readonly links: LinkBook;
  /** Links to the peers of the room; absent: only HTTP addresses and the store are read. */
  readonly peers: TreePeers | undefined;
  /** Gives up when nothing has come for this long. */
  readonly waitMs: number;
  readonly retryForMs: number;
  readonly signal: AbortSignal | undefined;
  /** The stored artifact, once it is complete. */
  readonly openStored: () => Promise<Source>;
};

export type ArrivingPull = {
  readonly manifest: ArtifactManifest;
  readonly sources: readonly SourceFactory[];
  /** The caller's signal, and the end of the arrival without the artifact. */
  readonly signal: AbortSignal;
  /** Bytes have come. */
  noteProgress(): void;
  /** All of them have, and are verified. */
  delivered(): void;
  close(): Promise<void>;
};

/** Opens an arriving artifact; throws what reading its manifest throws, or the signal's reason. */
export async function openArriving(init: ArrivingInit): Promise<ArrivingPull> {
  const { hub, room, record, transport, links, waitMs, signal } = init;
  const { artifact, name } = record;
  const manifest = await announcedManifest(init);
  const feed = new ArrivingFeed({ hub, room, artifact, name, waitMs });
  feed.start();
  const { openStored } = init;
  const map = new ShardMap(manifest);
  const common = { transport, links, feed, map };
  const direct = new DirectWays({ ...common, peers: init.peers });
  return {
    manifest,
    sources: [
      ...direct.sources.map((source) => () => source),
      () => new ArrivingSource({ ...common, hub, room, artifact, openStored }),
    ],
    signal: AbortSignal.any([feed.failed, ...(signal === undefined ? [] : [signal])]),
    noteProgress: () => feed.noteProgress(),
    delivered: () => direct.delivered(),
    close: async () => {
      await direct.close();
      await feed.stop();
    },
  };
}

async function announcedManifest(init: ArrivingInit): Promise<ArtifactManifest> {
  const { hub, room, record, transport, links, retryForMs, signal } = init;
  const { artifact, manifestBytes: bytes } = record;
  if (bytes > ANNOUNCED_MANIFEST_BYTES) {
    throw new WaybillError("too_large", `the announced manifest has ${bytes} bytes`);
  }
  const reader = new RangeReader({
    transport,
    links,
    keys: [MANIFEST_KEY],
    sign: async (_, { signal: own }) => {
      const body = { segments: [{ key: MANIFEST_KEY, part: 0 }] };
      const input = { params: { room, artifact }, body };
      return (await hub.call("signArriving", input, { signal: own, retryForMs: 0 })).reads;
    },
  });
  return decodeManifest(await readManifest(reader, { bytes, retryForMs, signal }), artifact);
}

// A push that others can read from the moment it begins: the tree is hashed first, so that its artifact is known, then
// announced, then sent in segments, or held back while its readers get it from this machine
// (docs/protocol/arriving.md §1, §2, §8).
import { type TreeScan, scanTree } from "../../artifact/index.ts";
import { createByteTransport } from "../../platform/index.ts";
import {
  ArtifactName,
  type DirectAddress,
  type ResolvedArtifact,
  type UploadStatus,
  WaybillError,
  decodeValue,
} from "../../protocol/index.ts";
import { type HashedTree, hashTree } from "../../transfer/index.ts";
import { NOT_ADOPTED } from "../hub-sink.ts";
import { type HubCalls, type PushOptions, type PushResult, pushArtifact } from "../push.ts";
import { Announcer, SentDirectly } from "./announcer.ts";
import type { UploadHold } from "./job-hold.ts";
import { SegmentedSink } from "./segmented-sink.ts";

export type AnnouncedPushOptions = Omit<PushOptions, "wrapSink"> & {
  /** Told once, when the artifact can be resolved and read, whole or arriving. */
  readonly onAnnounced: (record: ResolvedArtifact) => void;
  /** Told when the push goes on without being announced, and why. */
  readonly onUnannounced?: (reason: unknown) => void;
  /** Begins to serve the tree from this machine; gives its addresses. Absent: it is not served. */
  readonly serve?: (tree: HashedTree & { readonly scan: TreeScan }) => Promise<DirectAddress[]>;
  /** Whether the upload is held back while readers get the tree from this machine, and for how long. */
  readonly hold?: UploadHold | undefined;
  /** Whose machine this is, for people who wait for it. */
  readonly by?: string;
  /** Bytes hashed before the push begins. */
  readonly onHashed?: (bytes: number) => void;
};

export type AnnouncedPushResult = PushResult & {
  /** The upload was held until nobody needed it any more: the store has nothing of it. */
  readonly sentDirectly: boolean;
};

/**
 * Pushes a data set and announces it. Throws as `pushArtifact`; what keeps it from being announced keeps it from
 * nothing else.
 */
export async function pushAnnounced(
  hub: HubCalls,
  options: AnnouncedPushOptions,
): Promise<AnnouncedPushResult> {
  const startMs = performance.now();
  const { room, signal, onHashed, retryForMs = 600_000 } = options;
  const name = decodeValue(ArtifactName, options.name, `the name ${JSON.stringify(options.name)}`);
  const scan = options.scan ?? (await scanTree(options.path, { signal }));
  const tree = await hashTree(scan, {
    name,
    signal,
    ...(onHashed === undefined ? {} : { onProgress: onHashed }),
  });
  const seconds = () => (performance.now() - startMs) / 1000;
  const held = await adoptHeld(hub, options, tree);
  if (held !== undefined) {
    options.onAnnounced(held);
    return { ...unsent(scan, tree, seconds()), ...alreadyThere(scan, held), sentDirectly: false };
  }
  const transport = options.transport ?? createByteTransport();
  const announcer = new Announcer({
    hub,
    room,
    tree: { scan, ...tree },
    transport,
    retryForMs,
    onAnnounced: options.onAnnounced,
    onUnannounced: (reason) => options.onUnannounced?.(reason),
    serve: async () => (await options.serve?.({ scan, ...tree })) ?? [],
    by: options.by,
    hold: options.hold,
  });
  let begun: UploadStatus | undefined;
  try {
    const pushed = await pushArtifact(hub, {
      ...options,
      name,
      scan,
      transport,
      wrapSink: (inner) =>
        new SegmentedSink({
          inner,
          hub,
          room,
          retryForMs,
          announce: (status, how) => {
            begun = status;
            return announcer.announce(status, how);
          },
          onRefused: (reason) => announcer.refuse(reason),
        }),
    });
    return { ...pushed, sentDirectly: false };
  } catch (error) {
    if (!(error instanceof SentDirectly)) throw error;
    if (begun !== undefined) await announcer.abandon(begun);
    return { ...unsent(scan, tree, seconds()), sentDirectly: true };
  } finally {
    if (options.transport === undefined) transport.close();
  }
}

/** The artifact, when the room holds it: it is adopted instead of being pushed. */
async function adoptHeld(
  hub: HubCalls,
  { room, name, purpose, signal, retryForMs }: AnnouncedPushOptions,
  { artifact }: HashedTree,
): Promise<ResolvedArtifact | undefined> {
  const keep = purpose?.kind === "dataset" && purpose.keep;
  const input = { params: { room, artifact }, body: { name, keep } };
  try {
    return await hub.call("adoptArtifact", input, {
      signal,
      ...(retryForMs === undefined ? {} : { retryForMs }),
    });
  } catch (error) {
    if (error instanceof WaybillError && NOT_ADOPTED.has(error.code)) return undefined;
    throw error;
  }
}

/** A push that put nothing on the wire. */
function unsent(scan: TreeScan, { artifact, manifest }: HashedTree, seconds: number): PushResult {
  return {
    artifact,
    files: scan.files.length,
    bytes: scan.bytes,
    sentBytes: 0,
    savedBytes: 0,
    saved: { held: 0, copied: 0, identical: 0, compressed: 0 },
    retries: 0,
    seconds,
    warnings: scan.warnings,
    record: undefined,
    manifest,
  };
}

function alreadyThere(
  { bytes }: TreeScan,
  record: ResolvedArtifact,
): Pick<PushResult, "savedBytes" | "saved" | "record"> {
  const saved = { held: 0, copied: 0, identical: bytes, compressed: 0 };
  return { savedBytes: bytes, saved, record };
}

// Pull: an artifact of a room becomes a folder of this machine. Composes the hub's records and signed reads,
// the store as a source, mirrors, whatever other sources the caller has, and the download machine.
import { ShardMap } from "../artifact/index.ts";
import { type ByteTransport, createByteTransport, files } from "../platform/index.ts";
import {
  type ArtifactId,
  type ArtifactManifest,
  ArtifactName,
  type ArtifactRecord,
  MANIFEST_KEY,
  type RoomId,
  WaybillError,
  decodeValue,
} from "../protocol/index.ts";
import { retry } from "../timing/index.ts";
import { httpMirror } from "../http/index.ts";
import {
  RangeReader,
  type RangeReaderInit,
  S3Source,
  type SignReads,
  readKeys,
} from "../s3/index.ts";
import {
  type GrowingTree,
  LinkBook,
  type Preference,
  type PullProgress,
  type SourceFactory,
  type SourceKind,
  type SourceReport,
  checkPreference,
  localTree,
  olderVersions,
  pullTree,
} from "../transfer/index.ts";
import type { TreePeers } from "./arriving/peer-route.ts";
import { type ArrivingPull, openArriving } from "./arriving/pull-arriving.ts";
import { type HolderChoice, findHolders, holderSources } from "./holders/find-holders.ts";
import { fetchManifest, givenManifest } from "./pull-manifest.ts";
import type { HubCalls } from "./push.ts";

export type PullOptions = {
  readonly room: RoomId;
  /** Artifact id, a unique prefix of it (8 digits or more), or a name. */
  readonly ref: string;
  /** Folder the files are laid out in. */
  readonly dir: string;
  /**
   * What counts: `cheap` (default) asks the store only for what no cheaper source has or brings at a sensible
   * rate, `fast` asks all at once, a deadline (milliseconds from the start) is cheap as long as that is in time.
   */
  readonly prefer?: Preference;
  /** URLs below which the artifact's objects lie under their own keys, on any server of ranges. Free sources. */
  readonly mirrors?: readonly string[];
  /**
   * Peers of the room that serve the artifact over HTTP, which the hub names: free sources, asked before the store. Default: all.
   */
  readonly holders?: HolderChoice;
  /** Sources besides the store, the mirrors, the peers that serve, and the cache. */
  readonly sources?: readonly SourceFactory[];
  /**
   * Folder with artifacts under their ids (`<cacheDir>/<id>/…`), used before the store. Older versions of the same
   * name give what they hold, when their `artifact.json` lies there.
   */
  readonly cacheDir?: string;
  /** Replace files in `dir` that have other content. */
  readonly overwrite?: boolean;
  /** Somebody reads the files at once: they stay in the page cache, which takes longer. Default false. */
  readonly readSoon?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: PullProgress) => void;
  /** Told once when the artifact is still being pushed, with how long it is waited for without a new byte. */
  readonly onArriving?: ((waitMs: number) => void) | undefined;
  /** Told when a request failed, how long its source rests, and which source that is. */
  readonly onRetry?: (error: unknown, waitMs: number, source?: string) => void;
  /** Told once what each source did and why, also when the pull fails. */
  readonly onReport?: (report: readonly SourceReport[]) => void;
  /** Told before anything is fetched, and waited for: what has matched can be read while the rest still comes. */
  readonly onTree?: ((tree: GrowingTree) => MaybePromise<void>) | undefined;
  /** Told when a source is given up, and why. */
  readonly onDrop?: (source: string, reason: string) => void;
  /** How long sources may fail without bringing a shard before they are given up. Default 10 minutes. */
  readonly retryForMs?: number;
  /**
   * An artifact that is still being pushed is pulled as it arrives; this long without a new byte, and the pull gives up.
   * Default 15 minutes.
   */
  readonly waitMs?: number;
  /**
   * Links to the peers of the room (`PeerLinks`): one that pushes what is arriving serves it, too. A function is asked
   * when there is something arriving.
   */
  readonly peers?: TreePeers | (() => MaybePromise<TreePeers | undefined>) | undefined;
  readonly transport?: ByteTransport;
  /** What is known of links; give the same one to the transfers that share a transport. */
  readonly links?: LinkBook;
};

type MaybePromise<T> = T | Promise<T>;

export type PullResult = {
  readonly artifact: ArtifactId;
  /** The name it was asked for by, or its newest one when that was an id. */
  readonly name: string;
  readonly files: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Bytes by where they came from; `cache` includes what was in `dir` already. */
  readonly sources: Partial<Record<SourceKind, number>>;
  /** What each source did and why; empty when nothing had to be fetched. */
  readonly report: readonly SourceReport[];
  readonly manifest: ArtifactManifest;
};

const DEFAULT_RETRY_MS = 600_000;
const DEFAULT_WAIT_MS = 900_000;
/** The record of an artifact is written right after its completion. */
const RECORD_MS = 30_000;

/**
 * Pulls an artifact. Resumes what an earlier pull into the same folder left. Throws `not_found`, `conflict`
 * (other content in the way), `no_source_left`, `storage_full`, `local_io`, `unreachable` (after
 * `retryForMs`), or the signal's reason.
 *
 * @example
 * const { files } = await pullArtifact(hub, { room, ref: "digits", dir: "./digits" });
 */
export async function pullArtifact(hub: HubCalls, options: PullOptions): Promise<PullResult> {
  const startMs = performance.now();
  const { room, signal, retryForMs = DEFAULT_RETRY_MS } = options;
  const transport = options.transport ?? createByteTransport();
  let arriving: ArrivingPull | undefined;
  try {
    if (options.prefer !== undefined) checkPreference(options.prefer);
    const { links = new LinkBook(), onRetry, onReport } = options;
    const mirrors = (options.mirrors ?? []).map((url) => httpMirror(url, { transport, links }));
    const ref = decodeValue(
      ArtifactName,
      options.ref,
      `the artifact ${JSON.stringify(options.ref)}`,
    );
    const callOptions = { signal, retryForMs };
    const askedMs = performance.now();
    const asked = { params: { room, ref }, query: { reading: "1" as const } };
    const record = await hub.call("resolveArtifact", asked, callOptions);
    // A connection and an answer.
    const expectedAnswerMs = (performance.now() - askedMs) / 2;
    const { artifact, reading } = record;
    const choice = options.holders ?? {};
    const finding = findHolders({ hub, room, artifact, choice, signal });
    // Whoever awaits it hears of it; until then it must not count as unhandled.
    finding.catch(() => undefined);
    // One try: while the hub is away, other sources may have what is needed.
    const sign: SignReads = async (keys, { signal: own }) => {
      const input = { params: { room, artifact }, body: { keys: [...keys] } };
      const { reads } = await hub.call("signReads", input, { signal: own, retryForMs: 0 });
      return reads;
    };
    const base = { sign, transport, links, signed: reading?.reads };
    const reader = new RangeReader({ ...base, keys: [MANIFEST_KEY] });
    const readOptions = { retryForMs, signal, onRetry };
    if (record.arriving === true) {
      const { waitMs = DEFAULT_WAIT_MS } = options;
      options.onArriving?.(waitMs);
      const openStored = async () => {
        const complete = await completeRecord(hub, room, artifact, callOptions);
        const own = new ShardMap(await fetchManifest(reader, complete, readOptions));
        const objects = new RangeReader({ ...base, keys: readKeys(own) });
        return new S3Source({ id: "s3", map: own, reader: objects });
      };
      const peers = await (typeof options.peers === "function" ? options.peers() : options.peers);
      const from = { hub, room, record, transport, links, peers };
      arriving = await openArriving({ ...from, waitMs, retryForMs, signal, openStored });
    }
    const manifest =
      arriving?.manifest ??
      givenManifest(record) ??
      (await fetchManifest(reader, record, readOptions));
    let report: readonly SourceReport[] = [];
    const stored = arriving?.sources ?? storedIn(reader.origins, base, expectedAnswerMs);
    const { cacheDir, prefer } = options;
    const holders = holderSources(await finding, { transport, links, prefer });
    const { bytes, sources } = await pullTree({
      artifact,
      manifest,
      dir: options.dir,
      sources: [
        ...(cacheDir === undefined
          ? []
          : [
              localTree(files.join(cacheDir, artifact)),
              olderVersions(cacheDir, record.name, signal),
            ]),
        ...(options.sources ?? []),
        ...mirrors,
        ...holders,
        ...stored,
      ],
      overwrite: options.overwrite ?? false,
      readSoon: options.readSoon ?? false,
      signal: arriving?.signal ?? signal,
      onProgress: (progress) => {
        arriving?.noteProgress();
        options.onProgress?.(progress);
      },
      onDrop: options.onDrop,
      onTree: options.onTree,
      schedule: {
        retryForMs,
        ...(options.prefer === undefined ? {} : { prefer: options.prefer }),
        ...(onRetry === undefined ? {} : { onRetry }),
        onReport: (facts) => {
          report = facts;
          onReport?.(facts);
        },
      },
    });
    arriving?.delivered();
    return {
      artifact,
      // One artifact may have several names: it is called what it was asked for by.
      name: artifact.startsWith(ref) ? record.name : ref,
      files: manifest.files.length,
      bytes,
      seconds: (performance.now() - startMs) / 1000,
      sources,
      report,
      manifest,
    };
  } finally {
    await arriving?.close();
    if (options.transport === undefined) transport.close();
  }
}

/** The store as one source for each of its endpoints: the signer may know several. */
function storedIn(
  origins: readonly string[],
  base: Omit<RangeReaderInit, "keys" | "origin">,
  expectedAnswerMs: number,
): SourceFactory[] {
  return origins.map((origin) => ({ map }) => {
    const reader = new RangeReader({ ...base, keys: readKeys(map), origin });
    return new S3Source({
      id: origins.length > 1 ? `s3 ${new URL(origin).host}` : "s3",
      map,
      reader,
      expectedAnswerMs,
    });
  });
}

/** The record of an artifact that was arriving and is there now. */
function completeRecord(
  hub: HubCalls,
  room: RoomId,
  artifact: ArtifactId,
  { signal }: { readonly signal: AbortSignal | undefined },
): Promise<ArtifactRecord> {
  const once = async () => {
    const input = { params: { room, ref: artifact } };
    const record = await hub.call("resolveArtifact", input, { signal, retryForMs: RECORD_MS });
    if (record.arriving !== true) return record;
    throw new WaybillError("storage_failed", `${record.name} is being completed`);
  };
  return retry(once, { forMs: RECORD_MS, signal, capMs: 1000 });
}

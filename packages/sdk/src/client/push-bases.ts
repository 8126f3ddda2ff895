// What a push is compared with: manifests of artifacts the room holds, read before the first byte is sent
// (docs/protocol/artifact.md 25). A base that cannot be read is none: it only would have saved bytes.
import { type TreeScan, chooseShardBytes, decodeManifest } from "../artifact/index.ts";
import { type Base, chooseBases, createBase } from "../delta/index.ts";
import type { ByteTransport } from "../platform/index.ts";
import {
  type ArtifactId,
  type ArtifactManifest,
  type ArtifactRecord,
  LIMITS,
  MANIFEST_KEY,
  type RoomId,
  isAbort,
} from "../protocol/index.ts";
import { RangeReader, readManifest } from "../s3/index.ts";
import type { MatchBases } from "../transfer/index.ts";
import type { HubCalls } from "./push.ts";

export type FindBasesInput = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly transport: ByteTransport;
  readonly scan: TreeScan;
  readonly name: string;
  /** An artifact to compare with before all others, such as a model's parent. */
  readonly base?: ArtifactId | undefined;
  /** Whether the push may become one of the room's artifacts without sending anything. */
  readonly adopts: boolean;
  readonly retryForMs: number;
  readonly signal: AbortSignal;
};

/** Manifests below this may be read whatever the push's size. */
const LEAST_BUDGET_BYTES = 64 * 1024;
/** A base is not worth a longer wait. */
const BASE_RETRY_MS = 5000;

/** Reads the bases of a push; undefined when there is nothing to compare with. */
export async function findBases(input: FindBasesInput): Promise<MatchBases | undefined> {
  const { hub, room, scan, name, base, signal, retryForMs } = input;
  // Below, nothing the store could copy is larger than what must be sent at least.
  if (scan.bytes < LIMITS.atOnceBytes) return undefined;
  const { artifacts } = await hub.call(
    "listArtifacts",
    { params: { room } },
    { signal, retryForMs },
  );
  const parent = artifacts.filter(({ artifact }) => artifact === base);
  if (base !== undefined && parent.length === 0) parent.push(...(await unlisted(input, base)));
  const others = artifacts.filter(({ artifact }) => artifact !== base);
  const records = withinBudget([...parent, ...chooseBases(others, name)], scan.bytes / 64);
  if (records.length === 0) return undefined;
  const read = await Promise.all(records.map(async (record) => readBase(input, record)));
  const shardBytes = chooseShardBytes(scan.files);
  const bases = read.filter((one): one is Base => one !== undefined);
  if (bases.length === 0) return undefined;
  const twin = input.adopts
    ? bases.find(({ manifest }) => mayEqual(manifest, scan, shardBytes))
    : undefined;
  return { bases, ...(twin === undefined ? {} : { twin }) };
}

/** A base no list has: a job's earlier checkpoint. */
async function unlisted(
  { hub, room, retryForMs, signal }: FindBasesInput,
  ref: ArtifactId,
): Promise<ArtifactRecord[]> {
  try {
    const found = await hub.call(
      "resolveArtifact",
      { params: { room, ref } },
      { signal, retryForMs },
    );
    return found.kind === "checkpoint" ? [found] : [];
  } catch (error) {
    if (isAbort(error)) throw error;
    return [];
  }
}

/** The first of the list whose manifests cost little beside the push itself. */
function withinBudget(records: readonly ArtifactRecord[], share: number): ArtifactRecord[] {
  let left = Math.max(LEAST_BUDGET_BYTES, share);
  return records.filter(({ manifestBytes }) => {
    if (manifestBytes > left) return false;
    left -= manifestBytes;
    return true;
  });
}

async function readBase(
  { hub, room, transport, retryForMs, signal }: FindBasesInput,
  { artifact, manifestBytes }: ArtifactRecord,
): Promise<Base | undefined> {
  const sign = async (keys: readonly string[]) => {
    const input = { params: { room, artifact }, body: { keys: [...keys] } };
    const { reads } = await hub.call("signReads", input, { signal, retryForMs });
    return reads;
  };
  const reader = new RangeReader({ sign, transport, keys: [MANIFEST_KEY] });
  try {
    const asked = { bytes: manifestBytes, retryForMs: BASE_RETRY_MS, signal };
    return createBase(artifact, decodeManifest(await readManifest(reader, asked), artifact));
  } catch (error) {
    // Expired, removed or damaged meanwhile.
    if (isAbort(error)) throw error;
    return undefined;
  }
}

/** Whether the tree has the artifact's files, as far as names and sizes tell. */
function mayEqual(manifest: ArtifactManifest, { files }: TreeScan, shardBytes: number): boolean {
  if (manifest.shardBytes !== shardBytes || manifest.files.length !== files.length) return false;
  return manifest.files.every(({ path, size, executable = false }, index) => {
    const file = files[index];
    return file?.path === path && file.size === size && file.executable === executable;
  });
}

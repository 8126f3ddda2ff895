// One of many processes that use a cache at random, to be killed by whoever started it: `DIR ORIGIN CAP SEED`. Whatever it
// reads from the cache it compares with the origin; a wrong byte is a line on stdout and the end.
import { readFile } from "node:fs/promises";
import { writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeManifest } from "../../packages/sdk/src/artifact/index.ts";
import {
  type ArtifactManifest,
  ArtifactId,
  decodeValue,
} from "../../packages/sdk/src/protocol/index.ts";
import { localTree, pullTree } from "../../packages/sdk/src/transfer/index.ts";
import { ArtifactCache } from "../../packages/waybill/src/worker/cache/artifact-cache.ts";
import type { PullInto } from "../../packages/waybill/src/worker/cache/filling.ts";
import { randomOf } from "./random.ts";

const [dir = "", origin = "", cap = "", seed = ""] = process.argv.slice(2);
const random = randomOf(Number(seed));
const say = (line: object) => writeSync(1, `${JSON.stringify(line)}\n`);
const index: { artifact: string; dir: string }[] = JSON.parse(
  await readFile(join(origin, "index.json"), "utf8"),
);
const cache = new ArtifactCache({
  cacheDir: dir,
  maxBytes: Number(cap),
  log: () => undefined,
  roomPatienceMs: 60_000,
  upkeepMs: 2000,
});
await cache.start();
const counts = { opened: 0, pulled: 0, held: 0, evicted: 0, files: 0 };
const chosen = () => {
  const one = index[Math.floor(random() * index.length)];
  if (one === undefined) throw new Error("no artifacts");
  return {
    artifact: decodeValue(ArtifactId, one.artifact, "artifact"),
    from: join(origin, one.dir),
  };
};

async function check(tree: string, from: string, manifest: ArtifactManifest): Promise<void> {
  for (const { path } of manifest.files) {
    const [is, should] = await Promise.all([
      readFile(join(tree, path)),
      readFile(join(from, "files", path)),
    ]);
    counts.files += 1;
    if (is.equals(should)) continue;
    say({ wrong: path, tree });
    process.exit(3);
  }
}

async function open(): Promise<void> {
  const { artifact, from } = chosen();
  const manifest = decodeManifest(await readFile(join(from, "artifact.json"), "utf8"), artifact);
  const pull: PullInto = async (into, { room }) => {
    counts.pulled += 1;
    const pulled = await pullTree({
      artifact,
      manifest,
      dir: into,
      overwrite: true,
      sources: [localTree(join(from, "files"))],
      onTree: ({ map }) => room(map.bytes),
    });
    return { ...pulled, seconds: 0, manifest };
  };
  const lease = await cache.open(artifact, pull);
  counts.opened += 1;
  await check(lease.dir, from, manifest);
  if (random() < 0.3) await sleep(random() * 100);
  await check(lease.dir, from, manifest);
  lease.release();
}

async function hold(): Promise<void> {
  const { artifact, from } = chosen();
  const held = await cache.hold(artifact);
  if (held === undefined) return;
  counts.held += 1;
  await check(held.dir, from, held.manifest);
  held.release();
}

for (let turn = 1; ; turn += 1) {
  const what = random();
  try {
    if (what < 0.55) await open();
    else if (what < 0.8) await hold();
    else if (what < 0.95) {
      const { artifact } = chosen();
      if (await cache.evict(artifact, 0)) counts.evicted += 1;
    } else await cache.upkeep();
  } catch (error) {
    say({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    process.exit(4);
  }
  if (turn % 10 === 0) say({ counts });
}

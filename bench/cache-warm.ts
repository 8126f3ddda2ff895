// npm run bench:cache-warm: how long a job waits for a model that is in the cache already (opened, checked, laid out as links
// in the job's folder), beside copying it there. 500 MB in one file, and the same in 10,000 files.
import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { scanTree } from "../packages/sdk/src/artifact/index.ts";
import { ArtifactName, decodeValue } from "../packages/sdk/src/protocol/index.ts";
import { hashTree, localTree, pullTree } from "../packages/sdk/src/transfer/index.ts";
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { ArtifactCache } from "../packages/waybill/src/worker/cache/artifact-cache.ts";
import type { PullInto } from "../packages/waybill/src/worker/cache/filling.ts";
import { type Layout, layOutTree } from "../packages/waybill/src/worker/cache/lay-out-tree.ts";
import { MIB, writeRandom } from "./setup/data.ts";
import { median } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { inScope } from "./setup/scope.ts";

const options = readOptions({ mib: 500, rounds: 5, extra: ["files"] });
const many = options.extra("files", 10_000);
const bytes = options.mib * MIB;

type Measured = {
  readonly files: number;
  readonly coldMs: number;
  readonly warmMs: readonly number[];
  readonly copyMs: readonly number[];
  readonly layout: Layout;
};

await inScope(async (scope) => {
  const measured: Measured[] = [];
  for (const files of [1, many]) {
    const home = scope.path(`files-${files}`);
    const origin = join(home, "origin");
    for (let n = 0; n < files; n += 1) {
      const dir = join(origin, `d${Math.floor(n / 500)}`);
      if (n % 500 === 0) await mkdir(dir, { recursive: true });
      await writeRandom(join(dir, `f${n}`), Math.floor(bytes / files));
    }
    const name = decodeValue(ArtifactName, "model", "name");
    const { artifact, manifest } = await hashTree(await scanTree(origin), { name });
    const pull: PullInto = async (dir) => {
      const sources = [localTree(origin)];
      const pulled = await pullTree({ artifact, manifest, dir, sources, readSoon: true });
      return { ...pulled, seconds: 0, manifest };
    };
    const cacheDir = join(home, "cache");
    const log = () => undefined;
    /** A daemon of its own, from its start to a tree that the trainer can read. */
    const start = async (job: string): Promise<{ ms: number; layout: Layout }> => {
      const startMs = performance.now();
      const cache = new ArtifactCache({ cacheDir, maxBytes: bytes * 4, log });
      const lease = await cache.open(artifact, pull);
      const to = join(home, "jobs", job);
      await mkdir(join(home, "jobs"), { recursive: true });
      const layout = await layOutTree({ from: lease.dir, to, minFreeBytes: 0 });
      const ms = performance.now() - startMs;
      lease.release();
      await cache.close();
      return { ms, layout };
    };
    const cold = await start("cold");
    const warmMs: number[] = [];
    const copyMs: number[] = [];
    for (let round = 0; round < options.rounds; round += 1) {
      warmMs.push((await start(`warm-${round}`)).ms);
      const copyStartMs = performance.now();
      await cp(origin, join(home, "jobs", `copy-${round}`), { recursive: true });
      copyMs.push(performance.now() - copyStartMs);
    }
    measured.push({ files, coldMs: cold.ms, warmMs, copyMs, layout: cold.layout });
  }
  const ms = (value: number) => `${Math.round(value)} ms`;
  await report("cache-warm", options, [
    {
      title: `Warm start from the cache, ${formatBytes(bytes)}, medians of ${options.rounds}`,
      rows: [
        ["files", "warm (checked and linked)", "worst", "copied instead", "laid out as"],
        ...measured.map(({ files, warmMs, copyMs, layout: { reflinks, links, copies } }) => [
          String(files),
          ms(median(warmMs)),
          ms(Math.max(...warmMs)),
          ms(median(copyMs)),
          reflinks > 0 ? "reflinks" : links > 0 ? "hard links" : `${copies} copies`,
        ]),
      ],
      data: measured,
    },
  ]);
});

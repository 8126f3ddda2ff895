// Many processes on one cache that open, hold, evict and are killed at random. Afterwards everything in it is right and
// nothing of the killed is left. What happens follows from the seed, as far as the machine's scheduling lets it.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { manifestPieces, scanTree } from "../../packages/sdk/src/artifact/index.ts";
import { ArtifactName, decodeValue } from "../../packages/sdk/src/protocol/index.ts";
import { hashTree } from "../../packages/sdk/src/transfer/index.ts";
import { ArtifactCache } from "../../packages/waybill/src/worker/cache/artifact-cache.ts";
import { measureTree } from "../../packages/waybill/src/worker/cache/tree-state.ts";
import { randomOf } from "./random.ts";

export type StressInit = {
  /** An empty folder. */
  readonly dir: string;
  readonly seed: number;
  readonly processes: number;
  readonly forMs: number;
  /** Mean time between two kills. */
  readonly killMs: number;
  readonly artifacts?: number;
};

export type StressResult = {
  readonly counts: Readonly<Record<string, number>>;
  readonly kills: number;
  /** What went wrong; none of it may. */
  readonly faults: readonly string[];
  readonly capBytes: number;
  readonly largestBytes: number;
  /** Most that lay in the cache at any look, everything counted. */
  readonly peakBytes: number;
  readonly looks: number;
  /** Fillings that were left half done at the end, for the next to go on with. */
  readonly leftovers: number;
};

const CHILD = fileURLToPath(new URL("cache-stress-child.ts", import.meta.url));
const LOOK_MS = 100;
/** Journals of fillings that are under way. */
const SLACK_BYTES = 64 * 1024;

export async function stressCache(init: StressInit): Promise<StressResult> {
  const random = randomOf(init.seed);
  const origin = join(init.dir, "origin");
  const cacheDir = join(init.dir, "cache");
  const sizes = await makeOrigin(origin, init.artifacts ?? 12, random);
  const largestBytes = Math.max(...sizes);
  // Room for a third: something has to go all the time.
  const capBytes = Math.round(sizes.reduce((sum, size) => sum + size, 0) / 3);
  const run = new Run(init, random, [cacheDir, origin, String(capBytes)]);
  const { peakBytes, looks } = await run.toTheEnd(cacheDir, capBytes + largestBytes + SLACK_BYTES);
  const { leftovers } = await clearUp(cacheDir, capBytes, largestBytes, run.faults);
  const { counts, kills, faults } = run;
  return { counts, kills, faults, capBytes, largestBytes, peakBytes, looks, leftovers };
}

class Run {
  readonly counts: Record<string, number> = {};
  readonly faults: string[] = [];
  kills = 0;
  readonly #init: StressInit;
  readonly #random: () => number;
  readonly #words: readonly string[];
  readonly #children = new Set<ChildProcess>();
  #isOver = false;

  constructor(init: StressInit, random: () => number, words: readonly string[]) {
    this.#init = init;
    this.#random = random;
    this.#words = words;
  }

  async toTheEnd(
    cacheDir: string,
    limitBytes: number,
  ): Promise<{ peakBytes: number; looks: number }> {
    for (let n = 0; n < this.#init.processes; n += 1) this.#start();
    const endMs = performance.now() + this.#init.forMs;
    let peakBytes = 0;
    let looks = 0;
    let killAtMs = performance.now() + this.#pauseMs();
    while (performance.now() < endMs && this.faults.length === 0) {
      await sleep(LOOK_MS);
      const bytes = await bytesIn(cacheDir);
      looks += 1;
      peakBytes = Math.max(peakBytes, bytes);
      if (bytes > limitBytes) this.faults.push(`${bytes} bytes in the cache, over ${limitBytes}`);
      if (performance.now() < killAtMs) continue;
      killAtMs = performance.now() + this.#pauseMs();
      const all = [...this.#children];
      all[Math.floor(this.#random() * all.length)]?.kill("SIGKILL");
      this.kills += 1;
    }
    this.#isOver = true;
    const ends = Array.from(this.#children, (child) => ended(child));
    for (const child of this.#children) child.kill("SIGKILL");
    await Promise.all(ends);
    return { peakBytes, looks };
  }

  #pauseMs(): number {
    return this.#random() * 2 * this.#init.killMs;
  }

  #start(): void {
    const seed = String(Math.floor(this.#random() * 2 ** 31));
    const words = ["--conditions=@waybill/source", CHILD, ...this.#words, seed];
    const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
    this.#children.add(child);
    let own: Record<string, number> = {};
    createInterface({ input: child.stdout }).on("line", (text) => {
      const line = JSON.parse(text);
      if (line.counts === undefined) this.faults.push(`seed ${seed}: ${text}`);
      else own = line.counts;
    });
    child.on("exit", (code, signal) => {
      this.#children.delete(child);
      for (const [name, count] of Object.entries(own)) {
        this.counts[name] = (this.counts[name] ?? 0) + count;
      }
      if (signal !== "SIGKILL") this.faults.push(`seed ${seed}: ended with ${code ?? signal}`);
      if (!this.#isOver) this.#start();
    });
  }
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once("close", () => resolve());
  });
}

/**
 * Bytes of files below what is going, what is there and what is coming, in this order: against the way things take, so that
 * nothing is counted twice.
 */
async function bytesIn(cacheDir: string): Promise<number> {
  let sum = 0;
  for (const folder of ["trash", "artifacts", "filling"]) {
    const names = await readdir(join(cacheDir, folder)).catch(() => []);
    for (const name of names) {
      sum += (await measureTree(join(cacheDir, folder, name, "files"))).bytes;
    }
  }
  return sum;
}

async function makeOrigin(origin: string, count: number, random: () => number): Promise<number[]> {
  const index: { artifact: string; dir: string }[] = [];
  const sizes: number[] = [];
  for (let n = 0; n < count; n += 1) {
    const dir = `a${n}`;
    const files = join(origin, dir, "files");
    await mkdir(join(files, "sub"), { recursive: true });
    const filesIn = 1 + Math.floor(random() * 8);
    for (let file = 0; file < filesIn; file += 1) {
      const bytes = Buffer.alloc(Math.floor(random() * 400_000));
      for (let at = 0; at + 4 <= bytes.length; at += 4) {
        bytes.writeUInt32LE(Math.floor(random() * 2 ** 32), at);
      }
      await writeFile(join(files, file % 2 === 0 ? `f${file}` : `sub/f${file}`), bytes);
    }
    const scan = await scanTree(files);
    const name = decodeValue(ArtifactName, `stress-${n}`, "name");
    const { artifact, manifest } = await hashTree(scan, { name });
    const text = Buffer.concat([...manifestPieces(manifest)]);
    await writeFile(join(origin, dir, "artifact.json"), text);
    sizes.push(scan.bytes);
    index.push({ artifact, dir });
  }
  await writeFile(join(origin, "index.json"), JSON.stringify(index));
  return sizes;
}

/** What a process that comes afterwards finds and makes of it. */
async function clearUp(
  cacheDir: string,
  capBytes: number,
  largestBytes: number,
  faults: string[],
): Promise<{ leftovers: number }> {
  const cache = new ArtifactCache({ cacheDir, maxBytes: capBytes, log: () => undefined });
  const { leftovers } = await cache.sweep({ leftoverMs: 0 });
  for (const { artifact } of await cache.list()) {
    const compared = await cache.verify(artifact, { dryRun: true });
    for (const { path, kind } of compared?.differences ?? []) {
      faults.push(`${artifact} afterwards: ${path} ${kind}`);
    }
  }
  const bytes = await bytesIn(cacheDir);
  if (bytes > capBytes + largestBytes) faults.push(`${bytes} bytes are left`);
  await cache.close();
  for (const folder of ["leases", "owners", "trash", "filling"]) {
    const names = await readdir(join(cacheDir, folder));
    if (names.length > 0) faults.push(`left in ${folder}: ${names.slice(0, 5).join(", ")}`);
  }
  for (const folder of [".", "artifacts", "pins"]) {
    const names = await readdir(join(cacheDir, folder));
    const strays = names.filter((name) => name.startsWith(".") || name.endsWith(".tmp"));
    if (strays.length > 0) faults.push(`left in ${folder}: ${strays.join(", ")}`);
  }
  return { leftovers };
}

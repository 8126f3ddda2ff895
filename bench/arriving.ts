// npm run bench:arriving: from a push's last byte to the start of the trainer that needs it, on one machine with a
// limited uplink. `waybill train -d PATH` with its data set read as it arrives (from the store's segments, and from the
// pushing machine), beside pushing all of it first.
import { mkdir, rm } from "node:fs/promises";
import { Lab } from "../test/support/lab.ts";
import { writeRandomFile } from "../test/support/random-file.ts";
import { MIB } from "./setup/data.ts";
import { median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";

const options = readOptions({ mib: 512, rounds: 5, extra: ["limit"] });
const bytes = options.mib * MIB;
/** MiB a second that may leave the pushing machine. */
const limit = options.extra("limit", 64);

/** Says when it was started, and ends. */
const TRAINER = `
import { writeFileSync } from "node:fs";
import path from "node:path";
console.log("started", Date.now());
writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "weights.bin"), "weights");
`;

const WAYS = [
  { name: "pushed first", words: ["--no-announce"] },
  { name: "as it arrives, from segments", words: ["--no-direct"] },
  { name: "as it arrives, from segments and directly", words: [] },
] as const;

type Run = { readonly totalS: number; readonly lastByteS: number };

/** One job; how long its trainer waited from the command on, and from the store's last byte of the data set. */
async function train(lab: Lab, words: readonly string[]): Promise<Run> {
  const before = lab.counts.up;
  const startMs = Date.now();
  let lastByteMs = Number.NaN;
  const timer = setInterval(() => {
    if (Number.isNaN(lastByteMs) && lab.counts.up - before >= bytes) lastByteMs = Date.now();
  }, 5);
  try {
    const dataset = ["-d", lab.path("data"), "--limit-up", `${limit}M`, ...words];
    const command = ["--code", lab.path("code"), "--", "node", "train.mjs"];
    const running = lab.start(["train", ...dataset, ...command], "owner");
    const isStart = (line: unknown) => typeof line === "string" && line.startsWith("started ");
    const seen = await running.until(({ line }) => isStart(line));
    const startedMs = Number(String(seen.at(-1)?.["line"]).split(" ")[1]);
    running.drain();
    if ((await running.exit()) !== 0) throw new Error(`train failed: ${running.errors}`);
    return { totalS: (startedMs - startMs) / 1000, lastByteS: (startedMs - lastByteMs) / 1000 };
  } finally {
    clearInterval(timer);
  }
}

const runs = new Map<string, Run[]>(WAYS.map(({ name }) => [name, []]));
for (let round = 0; round < options.rounds; round++) {
  for (const { name, words } of WAYS) {
    // A lab of its own: nothing is deduplicated or cached.
    await using lab = await Lab.open({ counted: true });
    await mkdir(lab.path("data"));
    await mkdir(lab.path("code"));
    await writeRandomFile(lab.path("data", "big.bin"), bytes);
    await lab.write("code/train.mjs", TRAINER);
    await lab.startWorker("desk");
    const run = await train(lab, words);
    runs.get(name)?.push(run);
    note(`${name}: ${run.totalS.toFixed(2)} s, ${run.lastByteS.toFixed(2)} s after the last byte`);
    await rm(lab.path("data"), { recursive: true });
  }
}

const rows = [...runs].map(([name, all]) => [
  name,
  median(all.map(({ totalS }) => totalS)).toFixed(2),
  median(all.map(({ lastByteS }) => lastByteS)).toFixed(2),
  Math.max(...all.map(({ lastByteS }) => lastByteS)).toFixed(2),
]);
const head = [
  "data set",
  "command to trainer s",
  "last byte to trainer s",
  "the same, slowest round",
];
const title = `${options.mib} MiB over an uplink of ${limit} MiB/s`;
await report("arriving", options, [
  { title, rows: [head, ...rows], data: Object.fromEntries(runs) },
]);

// npm run bench:mirrors: one artifact from two plain Range servers behind links of 30 and 20 Mbit/s: how much of
// the 50 is used; what happens when the faster dies, or vanishes, at half; and a mirror that damages 1 % of its
// answers: are the bytes right, and how many were in vain.
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, rm } from "node:fs/promises";
import { digestOf } from "../test/support/random-file.ts";
import type { LinkCounts } from "../test/support/netlab/wan.ts";
import { pullCommand, pushCommand } from "./peers/commands.ts";
import { fileURLToPath } from "node:url";
import { MIB, writeRandom } from "./setup/data.ts";
import { measure, median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { inScope, start, stop } from "./setup/scope.ts";
import { hostOf, openSite } from "./setup/site.ts";
import { type Host, listening } from "./setup/store.ts";

const options = readOptions({ mib: 256, rounds: 5 });
const bytes = options.mib * MIB;
const SERVER = fileURLToPath(new URL("peers/range-server.ts", import.meta.url));
const PORT = 8080;
/** A cap is on what TCP carries; the link counts headers too: 1,448 of 1,500 bytes. */
const capped = (mbit: number) => (mbit * 1500) / 1448;
const FAST = 30;
const SLOW = 20;
const SAMPLE_MS = 25;

type Run = {
  readonly seconds: number;
  /** Longest time in which nothing arrived, between the first byte and the last. */
  readonly stallSeconds: number;
  /** What arrived through all links, ÷ the file. */
  readonly share: number;
  /** Of that, from the hub's store. */
  readonly storeShare: number;
  readonly right: boolean;
};

await inScope(async (scope) => {
  const { lab, hub, client, server } = await openSite(scope, {
    link: { rttMs: 20 },
    store: options.store,
    more: [
      { from: "client", to: "fast", rttMs: 20, rateMbit: capped(FAST), congestion: "cubic" },
      { from: "client", to: "slow", rttMs: 20, rateMbit: capped(SLOW), congestion: "cubic" },
    ],
  });
  const file = scope.path("data.bin");
  await writeRandom(file, bytes);
  const digest = await digestOf(file);
  await mkdir(scope.path("site"));
  await copyFile(file, scope.path("site", "data.bin"));
  await hub.createRoom("mirrors", server);
  await measure(server.command(pushCommand(file, "mirrors")), hub.env);
  const mirrors = { fast: hostOf(lab, "fast"), slow: hostOf(lab, "slow") };

  const serve = async (host: Host, share = 0): Promise<ChildProcess> => {
    const words = [SERVER, host.address, String(PORT), scope.path("site"), String(share)];
    const child = start(host.command([process.execPath, ...words]), { stdio: "inherit" });
    await listening(host, PORT, () => child.exitCode === null);
    return child;
  };
  const counts = async () => {
    const all: LinkCounts[] = [];
    for (const { wan } of lab.links) all.push(await wan.counts());
    const [store = 0, fast = 0, slow = 0] = all.map(({ down }) => down.payloadBytes);
    return { store, all: store + fast + slow };
  };

  /** Pulls; calls `atHalf` when half of the file has arrived. */
  const pull = async (from: readonly Host[], atHalf?: () => Promise<void>): Promise<Run> => {
    const folder = scope.path("pulled");
    const urls = from.flatMap(({ address }) => ["--mirror", `http://${address}:${PORT}/`]);
    const before = await counts();
    const command = client.command([...pullCommand("bench", folder, "mirrors"), ...urls]);
    const startMs = performance.now();
    const child = start(command, { env: hub.env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (data: Buffer) => (said = (said + data.toString()).slice(-2000)));
    const ended = once(child, "exit");
    let [seen, movedAtMs, longestMs, cut] = [before.all, 0, 0, false];
    while (child.exitCode === null && child.signalCode === null) {
      const { all } = await counts();
      const nowMs = performance.now();
      // Small answers of the hub are not the transfer.
      if (all - seen > 16_384) {
        if (movedAtMs > 0) longestMs = Math.max(longestMs, nowMs - movedAtMs);
        [seen, movedAtMs] = [all, nowMs];
      }
      if (!cut && atHalf !== undefined && all - before.all > bytes / 2) {
        cut = true;
        await atHalf();
      }
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, SAMPLE_MS))]);
    }
    const seconds = (performance.now() - startMs) / 1000;
    if (child.exitCode !== 0) throw new Error(`waybill pull failed: ${said}`);
    const after = await counts();
    const right = (await digestOf(`${folder}/data.bin`)) === digest;
    await rm(folder, { recursive: true });
    return {
      seconds,
      stallSeconds: longestMs / 1000,
      share: (after.all - before.all) / bytes,
      storeShare: (after.store - before.store) / bytes,
      right,
    };
  };

  const both = [mirrors.fast, mirrors.slow];
  const cases: { readonly name: string; readonly run: () => Promise<Run> }[] = [
    {
      name: "both mirrors",
      run: async () => {
        const children = [await serve(mirrors.fast), await serve(mirrors.slow)];
        const run = await pull(both);
        await Promise.all(children.map(stop));
        return run;
      },
    },
    {
      name: "the faster is killed at half",
      run: async () => {
        const [fast, slow] = [await serve(mirrors.fast), await serve(mirrors.slow)];
        const run = await pull(both, () => stop(fast));
        await stop(slow);
        return run;
      },
    },
    {
      name: "the faster vanishes at half",
      run: async () => {
        const children = [await serve(mirrors.fast), await serve(mirrors.slow)];
        const { wan } = lab.link("fast");
        const run = await pull(both, () => wan.unplug());
        await wan.plug();
        await Promise.all(children.map(stop));
        return run;
      },
    },
    {
      name: "one mirror, 1 % of its answers damaged",
      run: async () => {
        const child = await serve(mirrors.fast, 0.01);
        const run = await pull([mirrors.fast]);
        await stop(child);
        return run;
      },
    },
  ];
  const found = new Map<string, Run[]>();
  for (let round = 1; round <= options.rounds; round++) {
    for (const { name, run } of cases) {
      if (options.only.length > 0 && !options.only.some((word) => name.includes(word))) continue;
      const one = await run();
      found.set(name, [...(found.get(name) ?? []), one]);
      note(`${name}, round ${round}: ${JSON.stringify(one)}`);
    }
  }
  const rows = [...found].map(([name, runs]) => {
    const mid = (of: (run: Run) => number) => median(runs.map(of));
    const mbit = mid((run) => (bytes * 8) / run.seconds / 1e6);
    return [
      name,
      mid((run) => run.seconds).toFixed(1),
      mbit.toFixed(1),
      `${((mbit / (FAST + SLOW)) * 100).toFixed(0)} %`,
      Math.max(...runs.map((run) => run.stallSeconds)).toFixed(2),
      `${((mid((run) => run.share) - 1) * 100).toFixed(2)} %`,
      `${(mid((run) => run.storeShare) * 100).toFixed(1)} %`,
      runs.every((run) => run.right) ? "always" : "NO",
    ];
  });
  const head = [
    "case",
    "seconds",
    "Mbit/s",
    "of 50",
    "longest stall s",
    "received beyond the file",
    "from the store",
    "right bytes",
  ];
  await report("mirrors", options, [
    {
      title: `Mirrors behind ${FAST} and ${SLOW} Mbit/s: ${options.mib} MiB, 20 ms, cubic, ${options.rounds} rounds`,
      rows: [head, ...rows],
      notes: [
        "Seconds are those of the whole command, its start included; the hub's store is behind a link without a limit.",
      ],
      data: [...found],
    },
  ]);
});

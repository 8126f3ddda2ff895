// npm run bench:cache: processes that open, hold, evict and are killed at random on one shared cache, ten minutes long.
// `--minutes 1 --processes 4 --seed 7 --kill-ms 2000`. Fails at a wrong byte, at more than one artifact over the cap, and when something of the
// killed is left.
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { stressCache } from "../test/support/cache-stress.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { inScope } from "./setup/scope.ts";

const options = readOptions({
  mib: 1,
  rounds: 1,
  extra: ["minutes", "processes", "seed", "kill-ms"],
});
const minutes = options.extra("minutes", 10);
const processes = options.extra("processes", 16);
const seed = options.extra("seed", Math.floor(Math.random() * 2 ** 31) + 1);
const killMs = options.extra("kill-ms", 1500);

await inScope(async (scope) => {
  console.error(`seed ${seed}`);
  const dir = scope.path("stress");
  const result = await stressCache({ dir, seed, processes, forMs: minutes * 60_000, killMs });
  const { counts, kills, faults, capBytes, largestBytes, peakBytes, looks, leftovers } = result;
  const number = (name: string) => String(counts[name] ?? 0);
  await report("cache-stress", options, [
    {
      title: `${processes} processes on one cache for ${minutes} min, killed at random (seed ${seed})`,
      rows: [
        ["", ""],
        ["opened (of these pulled)", `${number("opened")} (${number("pulled")})`],
        ["held", number("held")],
        ["evicted by hand", number("evicted")],
        ["files compared byte by byte", number("files")],
        ["killed", String(kills)],
        ["wrong bytes and other faults", String(faults.length)],
        ["cap", formatBytes(capBytes)],
        ["largest artifact", formatBytes(largestBytes)],
        [`most at any of ${looks} looks`, formatBytes(peakBytes)],
        ["half-done fillings at the end, cleared", String(leftovers)],
      ],
      data: { seed, processes, minutes, ...result },
    },
  ]);
  for (const fault of faults) console.error(fault);
  if (faults.length > 0) process.exitCode = 1;
});

// npm run bench:outage: a job prints twenty metrics a second and a viewer follows it through the hub; viewer, worker, hub and the
// worker's daemon are away for 30 s in turn. How long after the path is back the viewer has everything.
import { setTimeout as sleep } from "node:timers/promises";
import { WatchedRun } from "../test/support/watched-run.ts";
import { median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";

const options = readOptions({ mib: 1, rounds: 3, extra: ["seconds"] });
const seconds = options.extra("seconds", 30);
/** Far more than anything takes. */
const LIMIT_MS = 120_000;

type Outage = {
  readonly name: string;
  readonly begin: (run: WatchedRun) => Promise<void> | void;
  readonly end: (run: WatchedRun) => Promise<unknown> | void;
};

const OUTAGES: readonly Outage[] = [
  {
    name: "viewer: connections reset and refused",
    begin: (run) => run.viewerPath.cut(),
    end: (run) => run.viewerPath.heal(),
  },
  {
    name: "viewer: silence, then what was under way arrives",
    begin: (run) => run.viewerPath.silence(),
    end: (run) => run.viewerPath.heal(),
  },
  {
    name: "viewer: silence, old connections dead for ever (another network)",
    begin: (run) => run.viewerPath.silence(),
    end: (run) => run.viewerPath.heal({ forgotten: true }),
  },
  {
    name: "worker's network: connections reset and refused",
    begin: (run) => run.workerPath.cut(),
    end: (run) => run.workerPath.heal(),
  },
  {
    name: "worker's network: silence, then what was under way arrives",
    begin: (run) => run.workerPath.silence(),
    end: (run) => run.workerPath.heal(),
  },
  {
    name: "worker's network: silence, old connections dead for ever",
    begin: (run) => run.workerPath.silence(),
    end: (run) => run.workerPath.heal({ forgotten: true }),
  },
  {
    name: "hub: SIGKILL, started again (from its ready line)",
    begin: (run) => run.lab.hub.kill(),
    end: (run) => run.lab.startHub(),
  },
  {
    name: "worker's daemon: SIGKILL, started again (from its ready line)",
    begin: (run) => run.killWorker(),
    end: (run) => run.restartWorker(),
  },
];

const found = OUTAGES.map(({ name }) => ({ name, ms: new Array<number>() }));
const logs: { events: number; whole: boolean }[] = [];
for (let round = 1; round <= options.rounds; round++) {
  await using run = await WatchedRun.open();
  for (const [index, { name, begin, end }] of OUTAGES.entries()) {
    await begin(run);
    await sleep(seconds * 1000);
    await end(run);
    const ms = await run.catchUpMs(LIMIT_MS);
    found[index]?.ms.push(ms);
    note(`round ${round}: ${name}: ${ms} ms`);
    await sleep(1000);
  }
  const lines = await run.finish();
  const numbers = lines.flatMap(({ seq }) => (typeof seq === "number" ? [seq] : []));
  const whole =
    numbers.every((seq, i) => seq === i + 1) && run.metrics.every(({ n }, i) => n === i + 1);
  logs.push({ events: numbers.length, whole });
}
const whole = logs.filter((log) => log.whole).length;
const events = logs.reduce((all, log) => all + log.events, 0);
await report("outage", options, [
  {
    title: `Outages of ${seconds} s, ${options.rounds} rounds: until the viewer has all that was printed before the path returned`,
    rows: [
      ["outage", "median ms", "longest ms"],
      ...found.map(({ name, ms }) => [name, String(median(ms)), String(Math.max(...ms))]),
    ],
    notes: [
      `${whole} of ${logs.length} logs (${events} events) were seen whole: every number once and in order.`,
    ],
    data: { found, logs },
  },
]);
process.exitCode = whole === logs.length ? 0 : 1;

// npm run bench:far: the same transfers across 50 and 150 ms, without and with 1 % loss, for cubic and BBR, on a
// link of 200 Mbit/s. One connection of cubic gets 2 Mbit/s at 50 ms and 1 %: those peers run into the limit.
import { PEER_BUCKET, pullers, pushCommand, pushers, s3Peers } from "./peers/commands.ts";
import { MIB, writeRandom } from "./setup/data.ts";
import { type Outcome, compare, measure, median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { inScope } from "./setup/scope.ts";
import { openSite } from "./setup/site.ts";
import { s3Client } from "./setup/store.ts";

const options = readOptions({
  mib: 64,
  rounds: 5,
  extra: ["mbit", "limit", "rtt"],
});
const bytes = options.mib * MIB;
const mbit = options.extra("mbit", 200);
/** Seconds; a multiple of what the link needs, because some peers would take an hour. */
const limitSeconds = options.extra("limit", Math.max(60, (bytes * 8 * 20) / (mbit * 1e6)));
/** Those with more than one connection, and the fastest at this distance. */
const DEFAULT_PEERS = ["tuned", "s5cmd", "lib-storage", "aria2"];

type Condition = {
  readonly rttMs: number;
  readonly lossPercent: number;
  readonly congestion: "cubic" | "bbr";
};

const CONDITIONS: Condition[] = [50, 150].flatMap((rttMs) =>
  [0, 1].flatMap((lossPercent) =>
    (["cubic", "bbr"] as const).map((congestion) => ({ rttMs, lossPercent, congestion })),
  ),
);

async function run(condition: Condition): Promise<{ pushed: Outcome[]; pulled: Outcome[] }> {
  let found: { pushed: Outcome[]; pulled: Outcome[] } = { pushed: [], pulled: [] };
  await inScope(async (scope) => {
    const link = { ...condition, rateMbit: mbit };
    const { hub, client, server } = await openSite(scope, { link, store: options.store });
    const { store } = hub;
    const s3 = s3Client(store);
    scope.defer(async () => s3.destroy());
    const file = scope.path("random.bin");
    await writeRandom(file, bytes);
    const only = options.only.length > 0 ? options.only : DEFAULT_PEERS;
    const transfers = { scope, hub, store, s3, file, at: client, tusHost: server, only };
    const how = { warmUp: false, limitSeconds };
    const pushed = await compare(await pushers(transfers), options.rounds, how);
    await hub.createRoom("pull", server);
    await measure(server.command(pushCommand(file, "pull")), hub.env);
    const { env, aws } = await s3Peers(scope, store, server);
    await measure(aws("cp", "--only-show-errors", file, `s3://${PEER_BUCKET}/source`), env);
    const pulled = await compare(await pullers(transfers, "source"), options.rounds, how);
    found = { pushed, pulled };
  });
  return found;
}

/** Seconds of each contender, one row a condition; the fastest peer's ratio to ours comes last. */
function rowsOf(runs: readonly (readonly [Condition, readonly Outcome[]])[]): string[][] {
  const names = [...new Set(runs.flatMap(([, outcomes]) => outcomes.map(({ name }) => name)))];
  const seconds = (outcome: Outcome | undefined) =>
    outcome === undefined || outcome.samples.length === 0
      ? Number.POSITIVE_INFINITY
      : median(outcome.samples.map((one) => one.wallSeconds));
  return [
    ["RTT", "loss", "TCP", ...names, "fastest peer ÷ ours"],
    ...runs.map(([{ rttMs, lossPercent, congestion }, outcomes]) => {
      const all = names.map((name) => seconds(outcomes.find((one) => one.name === name)));
      const [ours = Number.NaN, ...peers] = all;
      return [
        `${rttMs} ms`,
        `${lossPercent} %`,
        congestion,
        ...all.map((value) => (Number.isFinite(value) ? `${value.toFixed(1)} s` : "failed")),
        Number.isFinite(Math.min(...peers)) ? (Math.min(...peers) / ours).toFixed(2) : "–",
      ];
    }),
  ];
}

const wanted = (value: number, name: string) => {
  const only = options.extra(name, -1);
  return only === -1 || only === value;
};
const pushed: [Condition, readonly Outcome[]][] = [];
const pulled: [Condition, readonly Outcome[]][] = [];
for (const condition of CONDITIONS) {
  if (!wanted(condition.rttMs, "rtt")) continue;
  note(JSON.stringify(condition));
  const found = await run(condition);
  pushed.push([condition, found.pushed]);
  pulled.push([condition, found.pulled]);
}
const what = `${options.mib} MiB, ${mbit} Mbit/s, ${options.store}, medians of ${options.rounds}`;
const notes = [`"failed" took longer than ${limitSeconds.toFixed(0)} s, or said so.`];
await report("far", options, [
  { title: `Push across a distance: ${what}`, rows: rowsOf(pushed), notes, data: pushed },
  { title: `Pull across a distance: ${what}`, rows: rowsOf(pulled), notes, data: pulled },
]);

// npm run bench:peers: bulk streams between two peers against one data channel of node-datachannel as it is, on this
// machine and across emulated paths with loss. `--only loopback,20,80` chooses; `--seconds` bounds each run.
import { NetLab } from "../test/support/netlab.ts";
import { type Found, type Way, transfer } from "./links/pair.ts";
import { median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";

const options = readOptions({ mib: 1024, rounds: 3, extra: ["seconds", "mbit"] });
const seconds = options.extra("seconds", 30);
const mbit = options.extra("mbit", 100);
const wanted = (name: string) => options.only.length === 0 || options.only.includes(name);

type Condition = {
  readonly name: string;
  readonly path: string;
  readonly asked: number;
  readonly link?: { readonly rttMs: number; readonly lossPercent: number };
};
const CONDITIONS: readonly Condition[] = [
  { name: "loopback", path: "loopback", asked: 0.9 },
  {
    name: "20",
    path: `20 ms, 1 % loss, ${mbit} Mbit/s`,
    asked: 12,
    link: { rttMs: 20, lossPercent: 1 },
  },
  {
    name: "80",
    path: `80 ms, 0.1 % loss, ${mbit} Mbit/s`,
    asked: 15,
    link: { rttMs: 80, lossPercent: 0.1 },
  },
];

type Run = { readonly ours: readonly Found[]; readonly bare: readonly Found[] };

async function run({ link }: Condition): Promise<Run> {
  const found: Record<Way, Found[]> = { ours: [], bare: [] };
  const rounds = async (lab: NetLab | undefined) => {
    const host = { send: "near", take: "far" } as const;
    const on = (side: "send" | "take", command: readonly string[]) =>
      lab === undefined ? command : lab.command(host[side], command);
    for (let round = 0; round < options.rounds; round++) {
      for (const way of ["bare", "ours"] as const) {
        found[way].push(await transfer({ way, mib: options.mib, seconds, on }));
        note(`${way}: ${rate(found[way].at(-1)).toFixed(1)} MB/s`);
      }
    }
  };
  if (link === undefined) {
    await rounds(undefined);
    return found;
  }
  await using lab = await NetLab.open({
    links: [{ from: "near", to: "far", rateMbit: mbit, ...link }],
  });
  await rounds(lab);
  return found;
}

/** MB/s over the whole transfer. */
function rate(found: Found | undefined): number {
  return found === undefined ? Number.NaN : found.bytes / found.seconds / 1e6;
}

/** MB/s in the second half, when the number of connections has been found. */
function lateRate({ perSecond }: Found): number {
  const late = perSecond.slice(Math.floor(perSecond.length / 2), -1);
  return late.reduce((sum, one) => sum + one, 0) / late.length / 1e6;
}

const runs: [Condition, Run][] = [];
for (const condition of CONDITIONS) {
  if (!wanted(condition.name)) continue;
  note(condition.path);
  runs.push([condition, await run(condition)]);
}
const mib = (bytes: number) => `${Math.round(bytes / 1024 / 1024)} MiB`;
const rows = [
  [
    "path",
    "one association MB/s",
    "ours MB/s",
    "ratio",
    "asked",
    "second half",
    "ratio",
    "connections",
    "RSS taker, sender",
  ],
  ...runs.map(([{ path, asked }, { ours, bare }]) => {
    const [own, other] = [median(ours.map(rate)), median(bare.map(rate))];
    const [ownLate, otherLate] = [median(ours.map(lateRate)), median(bare.map(lateRate))];
    const rss = ([0, 1] as const).map((i) => Math.max(...ours.map((one) => one.rssBytes[i])));
    return [
      path,
      other.toFixed(2),
      own.toFixed(2),
      (own / other).toFixed(2),
      `≥ ${asked}`,
      ownLate.toFixed(2),
      (ownLate / otherLate).toFixed(2),
      String(Math.max(...ours.map((one) => one.connections))),
      rss.map(mib).join(", "),
    ];
  }),
];
const size = `${options.mib} MiB or ${seconds} s, medians of ${options.rounds}`;
const notes = [
  "One association: node-datachannel with its defaults, one unordered channel, messages of 64 KiB.",
];
await report("peers", options, [
  { title: `Bulk between two peers: ${size}`, rows, notes, data: runs },
]);

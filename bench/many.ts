// npm run bench:many: a folder of 100,000 files of 2 to 20 KiB, pushed and pulled beside `aws s3 sync` and
// rclone. The warm-up goes through a proxy that counts the requests; the timed rounds go straight to the store.
import { rm } from "node:fs/promises";
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { PEER_BUCKET, RCLONE_TUNED, pullCommand, pushCommand, s3Peers } from "./peers/commands.ts";
import { CountingHttp } from "./setup/counting-http.ts";
import { writeSmallFiles } from "./setup/data.ts";
import { type BenchHub, startBenchHub } from "./setup/hub.ts";
import { type Contender, compare, measure, median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { inScope } from "./setup/scope.ts";
import { createBucket, removeObjects, startStore } from "./setup/store.ts";

const options = readOptions({ mib: 1, rounds: 3, extra: ["files"] });
const files = options.extra("files", 100_000);

await inScope(async (scope) => {
  const neutral = options.store === "embedded" ? undefined : await startStore(scope, options.store);
  const own = neutral === undefined ? {} : { store: neutral };
  const direct = await startBenchHub(scope, { name: "many", ...own });
  let counter: CountingHttp | undefined;
  let hubCounter: CountingHttp | undefined;
  let countedEndpoint = "";
  const counted = await startBenchHub(scope, {
    name: "counted",
    ...own,
    proxied: async (ports) => {
      counter = scope.use(new CountingHttp(ports.s3));
      hubCounter = scope.use(new CountingHttp(ports.hub));
      countedEndpoint = `http://127.0.0.1:${await counter.start()}`;
      return { url: `http://127.0.0.1:${await hubCounter.start()}`, s3: countedEndpoint };
    },
  });
  for (const { store } of new Set([direct, counted]))
    await createBucket(store, PEER_BUCKET).catch(() => note("the bucket is there already"));
  const tree = scope.path("tree");
  const bytes = await writeSmallFiles(tree, files);
  note(`${files} files, ${formatBytes(bytes)}`);

  /** Round 0 is counted, the others are timed. */
  const hubOf = (round: number): BenchHub => (round === 0 ? counted : direct);
  const peers = await s3Peers(scope, direct.store);
  const countedPeers = await s3Peers(scope, { ...counted.store, endpoint: countedEndpoint });
  const peersOf = (round: number) => (round === 0 ? countedPeers : peers);
  const requests = new Map<string, number>();
  const settings = new Map<string, NodeJS.ProcessEnv>();
  let before = 0;
  const asked = () => (counter?.requests ?? 0) + (hubCounter?.requests ?? 0);

  const contenders = (way: "push" | "pull"): Contender[] => {
    const into = (name: string) => scope.path(`pulled-${name}`);
    const key = (name: string, round: number) =>
      way === "push" ? `${name}-${round}` : `source-${round === 0 ? "counted" : "direct"}`;
    const cleanUp = (name: string) => async (round: number) => {
      if (way === "pull") await rm(into(name), { recursive: true, force: true });
      else if (name !== "waybill")
        await removeObjects(hubOf(round).store, PEER_BUCKET, `${key(name, round)}/`);
      else
        for (const bucket of hubOf(round).buckets)
          await removeObjects(hubOf(round).store, bucket, `many-${round}/`);
    };
    const all: Contender[] = [
      {
        name: `waybill ${way}`,
        prepare: async (round) => {
          settings.set("waybill", hubOf(round).env);
          if (way === "push") await hubOf(round).createRoom(`many-${round}`);
        },
        command: (round) =>
          way === "push"
            ? pushCommand(tree, `many-${round}`)
            : pullCommand("bench", into("waybill"), "pull"),
        clean: cleanUp("waybill"),
      },
      {
        name: "aws s3 sync",
        prepare: async (round) => void settings.set("aws", peersOf(round).tuned),
        command: (round) => {
          const place = `s3://${PEER_BUCKET}/${key("aws", round)}`;
          const ends = way === "push" ? [tree, place] : [place, into("aws")];
          return peersOf(round).aws("sync", "--only-show-errors", ...ends);
        },
        clean: cleanUp("aws"),
      },
      {
        name: "rclone, tuned",
        prepare: async (round) => void settings.set("rclone", peersOf(round).env),
        command: (round) => {
          const place = `peer:${PEER_BUCKET}/${key("rclone", round)}`;
          const ends = way === "push" ? [tree, place] : [place, into("rclone")];
          return peersOf(round).rclone("copy", "--fast-list", ...RCLONE_TUNED, ...ends);
        },
        clean: cleanUp("rclone"),
      },
    ];
    return all
      .filter(
        ({ name }) =>
          name.startsWith("waybill") ||
          options.only.length === 0 ||
          options.only.some((word) => name.includes(word)),
      )
      .map((one) => ({
        ...one,
        get env() {
          return settings.get(one.name.split(/[ ,]/)[0] ?? "") ?? process.env;
        },
        prepare: async (round) => {
          await one.prepare?.(round);
          before = asked();
        },
        clean: async (round) => {
          if (round === 0) requests.set(one.name, asked() - before);
          await one.clean?.(round);
        },
      }));
  };

  const pushed = await compare(contenders("push"), options.rounds);
  for (const [hub, name, { env, rclone }] of [
    [counted, "counted", countedPeers],
    [direct, "direct", peers],
  ] as const) {
    await hub.createRoom("pull");
    await measure(pushCommand(tree, "pull"), hub.env);
    await measure(rclone("copy", ...RCLONE_TUNED, tree, `peer:${PEER_BUCKET}/source-${name}`), env);
  }
  const pulled = await compare(contenders("pull"), options.rounds);

  const rowsOf = (outcomes: typeof pushed) => {
    const seconds = outcomes.map(({ samples }) => median(samples.map((one) => one.wallSeconds)));
    const asks = outcomes.map(({ name }) => requests.get(name) ?? Number.NaN);
    return [
      ["command", "wall s", "requests", "CPU s", "wall ÷ ours", "requests ÷ ours"],
      ...outcomes.map(({ name, samples }, i) => [
        name,
        (seconds[i] ?? Number.NaN).toFixed(1),
        String(asks[i] ?? "–"),
        median(samples.map((one) => one.cpuSeconds)).toFixed(1),
        ((seconds[i] ?? Number.NaN) / (seconds[0] ?? Number.NaN)).toFixed(2),
        ((asks[i] ?? Number.NaN) / (asks[0] ?? Number.NaN)).toFixed(1),
      ]),
    ];
  };
  const what = `${files} files, ${formatBytes(bytes)}, ${options.store}, ${options.rounds} rounds`;
  const notes = ["Requests are those of one run, to the store and, with ours, to the hub."];
  await report("many", options, [
    { title: `Push many files: ${what}`, rows: rowsOf(pushed), notes, data: pushed },
    { title: `Pull many files: ${what}`, rows: rowsOf(pulled), notes, data: pulled },
  ]);
});

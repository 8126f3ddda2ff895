// npm run bench:wifi: the flaky Wi-Fi story, scaled. 5 GB that would take 20 minutes meet a Wi-Fi that is gone for
// a minute at the 10- and at the 20-minute mark; here the file is smaller and the marks are at the same fractions
// of the time it would take. A stream that begins again, beside a push.
import { fileURLToPath } from "node:url";
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { pushCommand } from "./peers/commands.ts";
import { MIB, writeRandom } from "./setup/data.ts";
import { type Contender, compare, median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { inScope, start } from "./setup/scope.ts";
import { type Site, openSite } from "./setup/site.ts";
import { listening } from "./setup/store.ts";

const options = readOptions({ mib: 256, rounds: 5, extra: ["mbit"] });
const bytes = options.mib * MIB;
/** What 5 GB in 20 minutes are. */
const mbit = options.extra("mbit", 33);
/** What 1,448 of 1,500 bytes a packet leave. */
const calmSeconds = (bytes * 8) / (mbit * 1e6 * (1448 / 1500));
const MARKS = [0.5, 1];
const OUTAGE = 0.05;
const STREAM = fileURLToPath(new URL("peers/whole-stream.ts", import.meta.url));
const STREAM_PORT = 9500;

/** Cuts the link at the marks, counted from now; what comes back ends it. */
function cutAtMarks({ lab, client }: Site): () => Promise<void> {
  const { wan } = lab.link("server");
  let work: Promise<void> = Promise.resolve();
  const queue = (job: () => Promise<void>) => {
    work = work.then(job).catch((error: unknown) => note(String(error)));
  };
  const timers = MARKS.flatMap((mark) => [
    setTimeout(
      () => {
        queue(async () => {
          await wan.unplug();
          // Both ends lose their connections, as a computer does whose Wi-Fi is gone.
          await lab.run("server", ["ss", "-tnHK", "dst", client.address]);
          await lab.run("client", ["ss", "-tnHK", "src", client.address]);
        });
      },
      mark * calmSeconds * 1000,
    ),
    setTimeout(() => queue(() => wan.plug()), (mark + OUTAGE) * calmSeconds * 1000),
  ]);
  return async () => {
    for (const timer of timers) clearTimeout(timer);
    await work;
    await wan.plug();
  };
}

await inScope(async (scope) => {
  const link = { rttMs: 20, rateMbit: mbit, congestion: "cubic" } as const;
  const site = await openSite(scope, { link, store: options.store });
  const { lab, hub, client, server } = site;
  const file = scope.path("random.bin");
  await writeRandom(file, bytes);
  const serve = [process.execPath, STREAM, "serve", server.address, String(STREAM_PORT)];
  const stream = start(server.command(serve), { stdio: "inherit" });
  await listening(server, STREAM_PORT, () => stream.exitCode === null);

  let sentBefore = 0;
  let stopCuts = async () => {};
  const sent = async () => (await lab.link("server").wan.counts()).up.payloadBytes;
  const flaky = (contender: Contender): Contender => ({
    ...contender,
    prepare: async (round) => {
      await contender.prepare?.(round);
      sentBefore = await sent();
    },
    command: (round) => {
      stopCuts = cutAtMarks(site);
      return contender.command(round);
    },
    count: async () => ({ sentBytes: (await sent()) - sentBefore }),
    clean: () => stopCuts(),
  });
  const outcomes = await compare(
    [
      flaky({
        name: "waybill push",
        env: hub.env,
        prepare: (round) => hub.createRoom(`wifi-${round}`, server),
        command: (round) => client.command(pushCommand(file, `wifi-${round}`)),
      }),
      flaky({
        name: "whole stream, restarted",
        command: () =>
          client.command([
            process.execPath,
            STREAM,
            "send",
            server.address,
            String(STREAM_PORT),
            file,
          ]),
      }),
    ],
    options.rounds,
    { warmUp: false, limitSeconds: calmSeconds * 10 },
  );
  const figures = outcomes.map(({ name, samples }) => ({
    name,
    seconds: median(samples.map((one) => one.wallSeconds)),
    sentBytes: median(samples.map((one) => one.counted?.["sentBytes"] ?? Number.NaN)),
  }));
  const restarted = figures[1];
  const rows = figures.map(({ name, seconds, sentBytes }) => [
    name,
    seconds.toFixed(1),
    (seconds / calmSeconds).toFixed(2),
    formatBytes(sentBytes),
    (sentBytes / bytes).toFixed(2),
    restarted === undefined ? "–" : (seconds / restarted.seconds).toFixed(2),
    restarted === undefined ? "–" : (sentBytes / restarted.sentBytes).toFixed(2),
  ]);
  const head = [
    "command",
    "seconds",
    "÷ calm link",
    "sent",
    "÷ size",
    "time ÷ stream's",
    "bytes ÷ stream's",
  ];
  await report("wifi", options, [
    {
      title: `${options.mib} MiB over a Wi-Fi that fails twice (${mbit} Mbit/s, 20 ms, ${options.store}, ${options.rounds} rounds)`,
      rows: [head, ...rows],
      notes: [
        `Gone at ${MARKS.map((mark) => `${mark * 100} %`).join(" and ")} of the ${calmSeconds.toFixed(1)} s that the bytes alone need, for ${OUTAGE * 100} % of them each time.`,
      ],
      data: outcomes,
    },
  ]);
});

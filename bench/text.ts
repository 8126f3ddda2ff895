// npm run bench:text: a dataset of CSV and JSON lines across a link of 50 Mbit/s, with and without compression,
// pushed and pulled beside `aws s3 cp --recursive`: bytes on the link and seconds.
import { rm } from "node:fs/promises";
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { PEER_BUCKET, pullCommand, pushCommand, s3Peers } from "./peers/commands.ts";
import { MIB } from "./setup/data.ts";
import { type Contender, type Outcome, compare, measure, median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { inScope } from "./setup/scope.ts";
import { openSite } from "./setup/site.ts";
import { writeTextDataset } from "./setup/text-data.ts";

const options = readOptions({ mib: 256, rounds: 5, extra: ["mbit"] });
const mbit = options.extra("mbit", 50);

await inScope(async (scope) => {
  const link = { rttMs: 20, rateMbit: mbit, congestion: "cubic" } as const;
  const { lab, hub, client, server } = await openSite(scope, { link, store: options.store });
  const tree = scope.path("tree");
  const bytes = await writeTextDataset(tree, options.mib * MIB);
  note(formatBytes(bytes));
  const { tuned, aws } = await s3Peers(scope, hub.store, client);
  const local = await s3Peers(scope, hub.store, server);
  const MODES = ["auto", "never"] as const;
  for (const mode of MODES) {
    await hub.createRoom(`pull-${mode}`, server);
    const push = [...pushCommand(tree, `pull-${mode}`), "--compress", mode];
    // Across the link: `auto` compresses as much as that allows.
    await measure(client.command(push), hub.env);
  }
  const source = `s3://${PEER_BUCKET}/source`;
  await measure(local.aws("cp", "--recursive", "--only-show-errors", tree, source), local.env);

  let before = 0;
  const moved = async (way: "up" | "down") =>
    (await lab.link("server").wan.counts())[way].payloadBytes;
  const counted = (way: "up" | "down", one: Contender): Contender => ({
    ...one,
    prepare: async (round) => {
      await one.prepare?.(round);
      before = await moved(way);
    },
    count: async () => ({ movedBytes: (await moved(way)) - before }),
  });
  const into = scope.path("pulled");
  const clean = () => rm(into, { recursive: true, force: true });
  const how = { warmUp: false };
  const pushed = await compare(
    [
      ...MODES.map((mode) =>
        counted("up", {
          name: `waybill push --compress ${mode}`,
          env: hub.env,
          prepare: (round) => hub.createRoom(`${mode}-${round}`, server),
          command: (round) =>
            client.command([...pushCommand(tree, `${mode}-${round}`), "--compress", mode]),
        }),
      ),
      counted("up", {
        name: "aws s3 cp, tuned",
        env: tuned,
        command: (round) =>
          aws("cp", "--recursive", "--only-show-errors", tree, `s3://${PEER_BUCKET}/aws-${round}`),
      }),
    ],
    options.rounds,
    how,
  );
  const pulled = await compare(
    [
      ...MODES.map((mode) =>
        counted("down", {
          name: `waybill pull (pushed with --compress ${mode})`,
          env: hub.env,
          command: () => client.command(pullCommand("bench", into, `pull-${mode}`)),
          clean,
        }),
      ),
      counted("down", {
        name: "aws s3 cp, tuned",
        env: tuned,
        command: () => aws("cp", "--recursive", "--only-show-errors", source, into),
        clean,
      }),
    ],
    options.rounds,
    how,
  );
  const rowsOf = (outcomes: readonly Outcome[]) => {
    const of = (outcome: Outcome | undefined) => ({
      seconds: median(outcome?.samples.map((one) => one.wallSeconds) ?? []),
      movedBytes: median(outcome?.samples.map((one) => one.counted?.["movedBytes"] ?? 0) ?? []),
    });
    const ours = of(outcomes[0]);
    return [
      ["command", "bytes", "÷ plain", "wall s", "CPU s", "wall ÷ ours"],
      ...outcomes.map((outcome) => {
        const { seconds, movedBytes } = of(outcome);
        return [
          outcome.name,
          formatBytes(movedBytes),
          (movedBytes / bytes).toFixed(3),
          seconds.toFixed(1),
          median(outcome.samples.map((one) => one.cpuSeconds)).toFixed(1),
          (seconds / ours.seconds).toFixed(2),
        ];
      }),
    ];
  };
  const what = `${formatBytes(bytes)} of CSV and JSON, ${mbit} Mbit/s, 20 ms, ${options.store}, ${options.rounds} rounds`;
  await report("text", options, [
    { title: `Push text: ${what}`, rows: rowsOf(pushed), data: pushed },
    { title: `Pull text: ${what}`, rows: rowsOf(pulled), data: pulled },
  ]);
});

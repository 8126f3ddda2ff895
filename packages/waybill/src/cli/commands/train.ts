// waybill train: dataset and code into the room, a job for a worker, and its events until it ends.
import { existsSync } from "node:fs";
import path from "node:path";
import { Command, Option } from "commander";
import { JobHold, type JobHoldInit, type Via } from "@waybill/sdk/client";
import {
  type ArtifactId,
  type JobId,
  type JobSpec,
  ModelRef,
  type RoomId,
  WaybillError,
  cryptoRandom,
  decodeValue,
  isAbort,
  messageOf,
  newJobId,
  randomText,
  meantModelType,
} from "@waybill/sdk/protocol";
import type { HubClient } from "@waybill/sdk/hub-client";
import type { Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { openLive, personName } from "../live.ts";
import {
  byteSize,
  collect,
  collectEnvironment,
  collectPairs,
  progressFormat,
  wholeNumber,
  withRoom,
} from "../options.ts";
import { formatBytes } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { followJobOn } from "./job-watch.ts";
import { type AnnouncedPush, beginAnnouncedPush } from "./announced-push.ts";
import { pushPath } from "./push.ts";
import { codeOf } from "./train-code.ts";
import { type SpecOptions, specOf } from "./train-spec.ts";
import { workerMeant } from "./worker-ref.ts";

type TrainOptions = SpecOptions & {
  readonly dataset?: string;
  readonly code?: string;
  readonly parent?: string;
  readonly detach?: boolean;
  readonly announce?: boolean;
  readonly direct?: boolean;
  readonly via: Via;
  readonly directBelow?: number;
  readonly explain?: boolean;
  readonly limitUp?: string;
};

export function trainCommand(run: Runner): Command {
  return withRoom(new Command("train"))
    .argument("[command...]", "trainer program and its arguments, after --")
    .option("-d, --dataset <path|ref>", "file or folder to push, or an artifact of the room")
    .option("--code <dir>", "folder to run the command in (default: the files the command names)")
    .option("--trainer <name>", "a trainer the worker's operator configured, instead of a command")
    .option("-a, --alias <name>", "name the model when it is published")
    .option("-t, --tag <tag>", "tag the model (repeatable)", collect)
    .option(
      "-c, --config <key=value|file.json>",
      "trainer's configuration (repeatable; values are JSON or text)",
      collect,
    )
    .option(
      "-e, --env <key[=value]>",
      "environment of the trainer (repeatable; a name alone takes the value it has here)",
      collectEnvironment,
    )
    .option("--model-type <type>", "kind of model", "model")
    .option("--run-name <name>", "tells trainings apart that are otherwise alike")
    .option("--parent <model>", "the model it is fine-tuned from: id, alias or latest-{type}")
    .option("--seed <n>", "told to the trainer as WAYBILL_SEED; tells trainings apart, too", Number)
    .option("--notes <text>", "kept with the model")
    .option(
      "--sweep <name>",
      "compare with the models of this sweep: the best has the tag best-of-sweep",
    )
    .option("--sweep-metric <key>", "what the models of the sweep are compared by, as val_loss")
    .addOption(
      new Option(
        "--sweep-mode <mode>",
        "whether the least or the greatest is the best (min)",
      ).choices(["min", "max"]),
    )
    .addOption(
      new Option("--kind <kind>", "only on such a worker").choices([
        "desktop",
        "ephemeral",
        "shared",
      ]),
    )
    .option("--label <key=value>", "only on a worker with this label (repeatable)", collectPairs)
    .option("--worker <worker>", "only on this worker: its name, its id or a beginning of that")
    .option("--min-cpus <n>", "only on a worker with as many CPUs", wholeNumber(1))
    .option("--min-memory <size>", "only on a worker with as much memory (16G)", byteSize)
    .option("--gpus <n>", "only on a worker with as many GPUs", wholeNumber(1))
    .option("--gpu-memory <mb>", "each GPU with as many megabytes", wholeNumber(1))
    .option(
      "--where <condition>",
      "only on a worker it holds for, as 'gpu.memoryMb >= 24000' or 'labels.site == lab' (repeatable)",
      collect,
    )
    .option(
      "--max-attempts <n>",
      "attempts in a row without a new checkpoint before the job fails (5)",
      Number,
    )
    .option(
      "--progress <format>",
      "json, sleap or csv:PATH: how the trainer tells its progress",
      progressFormat,
    )
    .option(
      "--empty-stdin",
      "the trainer reads its standard input to the end; it cannot be adjusted",
    )
    .option("--tensorboard", "write event files for TensorBoard into the model, too")
    .option("--detach", "print the job's id, push what is left of the dataset, and return")
    .option("--no-announce", "push all of the dataset before the job is submitted")
    .option("--no-direct", "do not serve the dataset from this machine while it is pushed")
    .addOption(
      new Option(
        "--via <way>",
        "how the dataset goes first: peer (straight to the worker, encrypted, whatever its size), s3 (to the store), or by its size",
      )
        .choices(["auto", "peer", "s3"])
        .default("auto"),
    )
    .option(
      "--direct-below <size>",
      "largest dataset that goes straight to the worker, without the store (default: 100M; 0: none)",
      byteSize,
    )
    .option("--explain", "say which way the dataset goes, and why")
    .option(
      "--limit-up <rate>",
      "bytes of the dataset a second at most, as 512K, or by time: 08:00,512K 19:00,off",
    )
    .description("train on a worker of the room and publish the model")
    .addHelpText(
      "after",
      `

The job is submitted before its dataset is pushed: the worker reads it as it arrives, from this machine where it
can be reached, and trains when it has all of it. A push that fails cancels the job. A small dataset goes straight
to the worker, and to the store only when that does not work, with --detach, or for an ephemeral worker.

Ctrl-C leaves the job running; \`waybill job watch ID\` comes back to it. While the dataset is still being pushed
Ctrl-C stops that, too: the job then waits 15 minutes for somebody to go on with \`waybill push PATH --announce\`.
`,
    )
    .action(run<[string[]], TrainOptions>(train));
}

async function train(
  context: Context,
  [command]: [string[]],
  options: TrainOptions,
): Promise<number> {
  const room = await context.room();
  const quiet = options.detach === true && context.output.json;
  const hub = await context.client(room);
  // Every error before anything is uploaded: the spec is complete but for the artifacts' ids.
  const worker =
    options.worker === undefined
      ? {}
      : { worker: await workerMeant(context, hub, room, options.worker) };
  const spec = {
    ...(await specOf(command, { ...options, ...worker })),
    ...(await parentOf(context, hub, room, options)),
  };
  const meant = meantModelType(spec.modelType);
  if (meant !== undefined && !quiet) {
    context.output.note(
      `warning: model type ${spec.modelType} is none of SLEAP's; was ${meant} meant?`,
    );
  }
  const fitting = await checkWithHub(context, hub, room, { spec, quiet });
  const { limitUp, direct = true, detach = false } = options;
  const job = newJobId(Date.now(), cryptoRandom);
  const source =
    options.announce !== false && options.dataset !== undefined && existsSync(options.dataset)
      ? options.dataset
      : undefined;
  await using live =
    source === undefined && detach
      ? undefined
      : await openLive(context, room, await context.client(room, "transfer"));
  const hold =
    source === undefined || live === undefined
      ? undefined
      : new JobHold({
          ...holdOptions(context, options),
          hub,
          session: live.session,
          room,
          job,
          fitting,
        });
  await using push =
    source === undefined
      ? undefined
      : await beginAnnouncedPush(context, room, source, {
          label: "dataset",
          quiet,
          direct,
          encrypted: options.via === "peer",
          live,
          hold,
          ...(limitUp === undefined ? {} : { limitUp }),
        });
  const dataset =
    push === undefined
      ? await datasetOf(context, room, { ...options, quiet })
      : { artifact: await push.artifact, name: push.name };
  const code = await codeOf(context, room, command, { ...options, quiet });
  const body = {
    job,
    spec: {
      ...spec,
      ...(dataset === undefined ? {} : { dataset: dataset.artifact, datasetName: dataset.name }),
      ...(code === undefined ? {} : { code }),
    },
    submittedBy: personName(),
  };
  const submitted = await hub.call(
    "submitJob",
    { params: { room }, body },
    { signal: context.signal },
  );
  hold?.submitted();
  context.output.note(
    `job ${job} ${submitted.state}${submitted.reason === undefined ? "" : `: ${submitted.reason}`}`,
  );
  if (detach || live === undefined) {
    context.output.record({ job });
    context.output.line(job);
    if (push !== undefined) await endOfPush(push, { context, room, job });
    return 0;
  }
  context.output.record({ type: "submitted", job });
  if (push === undefined) return await followJobOn(live, context, room, { job, sinceSeq: 0 });
  push.hide();
  const pushed = endOfPush(push, { context, room, job });
  let isPushOver = false;
  const over = () => (isPushOver = true);
  push.done.then(over, over);
  pushed.catch(() => undefined);
  const exit = await followJobOn(live, context, room, { job, sinceSeq: 0 });
  hold?.finish();
  // A job that has ended otherwise needs the rest no more; what was sent is there when it is tried again. A push that
  // failed is why the job was cancelled.
  if (exit === EXIT.ok || hold?.isHeld === true || isPushOver) await pushed;
  return exit;
}

/** The id that the name of a parent stands for now: what a model comes from does not change with an alias. */
async function parentOf(
  { signal }: Context,
  hub: HubClient,
  room: RoomId,
  { parent }: TrainOptions,
): Promise<Pick<JobSpec, "parent">> {
  if (parent === undefined) return {};
  const model = decodeValue(ModelRef, parent, "--parent");
  const shown = await hub.call("showModel", { params: { room, model } }, { signal });
  return { parent: shown.model.id };
}

/** What the hub would refuse it says now; that no worker fits is no error, for one may come. Answers how many do. */
async function checkWithHub(
  context: Context,
  hub: HubClient,
  room: RoomId,
  { spec, quiet }: { readonly spec: JobSpec; readonly quiet: boolean },
): Promise<number> {
  const { output, signal } = context;
  const body = { spec, submittedBy: personName() };
  const { fitting, reason } = await hub.call("checkJob", { params: { room }, body }, { signal });
  if (fitting > 0) return fitting;
  if (!quiet) output.record({ type: "warning", message: reason });
  output.note(`warning: ${reason}; the job will wait until one comes that does`);
  return 0;
}

function holdOptions(
  { output }: Context,
  { via, directBelow, detach = false, explain = false }: TrainOptions,
): Pick<JobHoldInit, "via" | "belowBytes" | "leaves" | "onDecision"> {
  return {
    via,
    leaves: detach,
    ...(directBelow === undefined ? {} : { belowBytes: directBelow }),
    ...(explain
      ? {
          onDecision: (why) => {
            output.note(`dataset  ${why}`);
            output.record({ type: "dataset.via", why });
          },
        }
      : {}),
  };
}

/** Waits for a dataset's push; one that fails for good cancels the job that waits for it. Throws its error. */
async function endOfPush(
  { done, name }: AnnouncedPush,
  { context, room, job }: { readonly context: Context; readonly room: RoomId; readonly job: JobId },
): Promise<void> {
  const { output } = context;
  try {
    const { bytes, savedBytes, sentDirectly } = await done;
    output.note(
      sentDirectly
        ? `dataset  ${name}: ${formatBytes(bytes)}, straight to the worker; the store has nothing of it`
        : `dataset  ${name}: ${formatBytes(bytes)}, ${formatBytes(savedBytes)} of it were there already`,
    );
  } catch (error) {
    if (isAbort(error)) throw error;
    output.complain(`pushing dataset ${name} failed, so job ${job} is cancelled`);
    const hub = await context.client(room);
    const by = `${personName().slice(0, 40)} (push failed)`;
    const id = randomText(12, cryptoRandom);
    await hub
      .call("commandJob", { params: { room, job }, body: { id, name: "cancel", by } })
      .catch((cause: unknown) => output.complain(`cancelling it failed: ${messageOf(cause)}`));
    throw error;
  }
}

async function datasetOf(
  context: Context,
  room: RoomId,
  {
    dataset: given,
    limitUp,
    quiet,
  }: Pick<TrainOptions, "dataset" | "limitUp"> & { readonly quiet: boolean },
): Promise<{ artifact: ArtifactId; name: string } | undefined> {
  if (given === undefined) return undefined;
  if (existsSync(given)) {
    const limits = limitUp === undefined ? {} : { limitUp };
    const pushed = await pushPath(context, room, given, { label: "dataset", quiet, ...limits });
    context.output.note(
      `dataset  ${path.basename(path.resolve(given))}: ${formatBytes(pushed.bytes)}, ${formatBytes(pushed.savedBytes)} of it were there already`,
    );
    return { artifact: pushed.artifact, name: path.basename(path.resolve(given)) };
  }
  const hub = await context.client(room);
  try {
    const record = await hub.call(
      "resolveArtifact",
      { params: { room, ref: given } },
      { signal: context.signal },
    );
    return { artifact: record.artifact, name: record.name };
  } catch (cause) {
    if (
      !(cause instanceof WaybillError) ||
      (cause.code !== "not_found" && cause.code !== "invalid_request")
    )
      throw cause;
    throw new WaybillError(
      "not_found",
      `--dataset ${given} is neither a path here nor an artifact of room ${room}`,
      { cause },
    );
  }
}

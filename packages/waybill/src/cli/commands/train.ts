// waybill train: dataset and code into the room, a job for a worker, and its events until it ends.
import { existsSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { Command, Option } from "commander";
import {
  type ArtifactId,
  JobSpec,
  type RoomId,
  WaybillError,
  cryptoRandom,
  decodeJson,
  decodeValue,
  newJobId,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Context } from "../context.ts";
import { personName } from "../live.ts";
import {
  byteSize,
  collect,
  collectEnvironment,
  collectPairs,
  wholeNumber,
  withRoom,
} from "../options.ts";
import { formatBytes } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { followJob } from "./job-watch.ts";
import { pushPath } from "./push.ts";

type TrainOptions = {
  readonly dataset?: string;
  readonly code?: string;
  readonly trainer?: string;
  readonly alias?: string;
  readonly tag?: string[];
  readonly config?: string[];
  readonly env?: Record<string, string>;
  readonly modelType?: string;
  readonly runName?: string;
  readonly notes?: string;
  readonly kind?: string;
  readonly label?: Record<string, string>;
  readonly worker?: string;
  readonly minCpus?: number;
  readonly minMemory?: number;
  readonly gpus?: number;
  readonly gpuMemory?: number;
  readonly detach?: boolean;
};

/** Files named by the command are shipped along up to this size in all; more is meant for --code or --dataset. */
const AUTO_CODE_BYTES = 16 * 1024 * 1024;
const MAX_CONFIG_BYTES = 512 * 1024;

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
    .option("--notes <text>", "kept with the model")
    .addOption(
      new Option("--kind <kind>", "only on such a worker").choices([
        "desktop",
        "ephemeral",
        "shared",
      ]),
    )
    .option("--label <key=value>", "only on a worker with this label (repeatable)", collectPairs)
    .option("--worker <id>", "only on this worker")
    .option("--min-cpus <n>", "only on a worker with as many CPUs", wholeNumber(1))
    .option("--min-memory <size>", "only on a worker with as much memory (16G)", byteSize)
    .option("--gpus <n>", "only on a worker with as many GPUs", wholeNumber(1))
    .option("--gpu-memory <mb>", "each GPU with as many megabytes", wholeNumber(1))
    .option("--detach", "print the job's id and return")
    .description("train on a worker of the room and publish the model")
    .addHelpText(
      "after",
      `

Ctrl-C leaves the job running; \`waybill job watch ID\` comes back to it.
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
  // Field errors before anything is uploaded: the spec is complete but for the artifacts' ids.
  const spec = decodeValue(JobSpec, await specOf(command, options), "the job");
  const dataset =
    options.dataset === undefined
      ? undefined
      : await datasetOf(context, room, options.dataset, quiet);
  const code = await codeOf(context, room, command, { ...options, quiet });
  const job = newJobId(Date.now(), cryptoRandom);
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
  context.output.note(
    `job ${job} ${submitted.state}${submitted.reason === undefined ? "" : `: ${submitted.reason}`}`,
  );
  if (options.detach === true) {
    context.output.record({ job });
    context.output.line(job);
    return 0;
  }
  context.output.record({ type: "submitted", job });
  return followJob(context, room, job, 0);
}

async function specOf(
  command: string[],
  options: TrainOptions,
): Promise<v.InferInput<typeof JobSpec>> {
  const requirements = {
    kind: options.kind,
    labels: options.label,
    worker: options.worker,
    minCpus: options.minCpus,
    minMemoryBytes: options.minMemory,
    minGpus: options.gpus,
    minGpuMemoryMb: options.gpuMemory,
  };
  const fields = {
    command: command.length === 0 ? undefined : command,
    trainer: options.trainer,
    config: await configOf(options.config ?? []),
    env: options.env ?? {},
    modelType: options.modelType,
    runName: options.runName,
    alias: options.alias,
    tags: options.tag ?? [],
    notes: options.notes,
    requirements: present(requirements),
  };
  return present(fields);
}

function present(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** `key=value` pairs and JSON files, later ones winning. */
async function configOf(parts: readonly string[]): Promise<Record<string, unknown>> {
  let config: Record<string, unknown> = {};
  for (const part of parts) {
    const at = part.indexOf("=");
    if (at > 0 && !existsSync(part)) {
      config[part.slice(0, at)] = jsonOrText(part.slice(at + 1));
      continue;
    }
    const text = await readFile(part, "utf8").catch((cause: unknown) => {
      throw new WaybillError(
        "invalid_request",
        `--config ${part} is neither key=value nor a file that can be read`,
        { cause },
      );
    });
    const Json = v.pipe(
      v.record(v.string(), v.unknown()),
      v.check((value) => !Array.isArray(value), "not a JSON object"),
    );
    config = { ...config, ...decodeJson(Json, text, part, MAX_CONFIG_BYTES) };
  }
  return config;
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function datasetOf(
  context: Context,
  room: RoomId,
  given: string,
  quiet: boolean,
): Promise<{ artifact: ArtifactId; name: string }> {
  if (existsSync(given)) {
    const pushed = await pushPath(context, room, given, { label: "dataset", quiet });
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

/** The folder given with --code, or else a folder made of the files that the command names below the current one. */
async function codeOf(
  context: Context,
  room: RoomId,
  command: readonly string[],
  options: { readonly code?: string; readonly quiet: boolean },
): Promise<ArtifactId | undefined> {
  if (options.code !== undefined) {
    return (await pushPath(context, room, options.code, { label: "code", quiet: options.quiet }))
      .artifact;
  }
  const files = await namedFiles(command);
  if (files.length === 0) return undefined;
  const folder = await mkdtemp(path.join(os.tmpdir(), "waybill-code-"));
  try {
    for (const file of files) {
      // With their times, so that unchanged code is not sent again.
      await cp(file, path.join(folder, file), { preserveTimestamps: true });
    }
    const pushed = await pushPath(context, room, folder, {
      name: "code",
      label: "code",
      quiet: options.quiet,
    });
    context.output.note(`code     ${files.join(", ")}`);
    return pushed.artifact;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Relative paths of regular files below the current folder among a command's words. */
async function namedFiles(command: readonly string[]): Promise<string[]> {
  const files = new Set<string>();
  let bytes = 0;
  for (const word of command) {
    if (path.isAbsolute(word)) continue;
    const relative = path.relative(process.cwd(), path.resolve(word));
    if (relative === "" || relative.startsWith("..")) continue;
    const found = await stat(relative).catch(() => undefined);
    if (found?.isFile() !== true || files.has(relative)) continue;
    bytes += found.size;
    files.add(relative);
  }
  if (bytes > AUTO_CODE_BYTES) {
    throw new WaybillError(
      "too_large",
      `the files that the command names (${[...files].join(", ")}) have ${bytes} bytes`,
      {
        hint: "push large files as --dataset, or name a folder with --code",
      },
    );
  }
  return [...files];
}

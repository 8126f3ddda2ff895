// Everything a trainer needs before it starts: the dataset and the checkpoint to resume from in the cache, the code in its
// working directory, the output directory, the configuration file.
import {
  chmod,
  constants,
  copyFile,
  mkdir,
  readdir,
  stat,
  symlink,
  readlink,
} from "node:fs/promises";
import { join } from "node:path";
import {
  type ArtifactId,
  type ErrorCode,
  type JobAssignment,
  type NewJobEvent,
  type WorkerCapabilities,
  WaybillError,
  broughtBy,
} from "@waybill/sdk/protocol";
import type { ArtifactCache, CacheLease } from "../cache/artifact-cache.ts";
import type { PullInto } from "../cache/filling.ts";
import { layOutTree } from "../cache/lay-out-tree.ts";
import { removeTree } from "../data-dir/data-dir.ts";
import { replaceFile } from "../data-dir/files.ts";
import type { TransferPort } from "../ports.ts";
import { trainerEnvironment } from "../trainers/environment.ts";
import { configWith } from "./adjusted-values.ts";
import { FetchNotice } from "./fetch-notice.ts";
import type { SpoolPaths } from "./spool.ts";

export type PrepareInit = {
  readonly assignment: JobAssignment;
  readonly paths: SpoolPaths;
  readonly cache: ArtifactCache;
  readonly transfer: TransferPort;
  readonly trainers: Readonly<Record<string, readonly string[]>>;
  readonly capabilities: WorkerCapabilities;
  readonly passEnv: readonly string[];
  readonly append: (event: NewJobEvent) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** What laying out the data must leave free on the disk. */
  readonly minFreeBytes: number;
  /** Between looks at whether a fetch has come to a halt. */
  readonly quietMs: number;
  readonly signal: AbortSignal;
};

type Fetched = "dataset" | "code" | "checkpoint";

export type Prepared = {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Its standard input is to be empty. */
  readonly deaf: boolean;
  /** Gives the cached artifacts free. */
  release(): void;
};

/** Progress events of a transfer; a terminal shows no more than this. */
const PROGRESS_MS = 1000;

/** Lays everything out; throws what makes the job fail, or the signal's reason. */
export async function prepare(init: PrepareInit): Promise<Prepared> {
  const { assignment, paths, signal } = init;
  const { spec } = assignment;
  const command = commandOf(init);
  const leases: CacheLease[] = [];
  try {
    await removeTree(paths.work);
    await removeTree(paths.output);
    await removeTree(paths.inputs);
    await mkdir(paths.work, { recursive: true });
    await mkdir(paths.output, { recursive: true });
    const config = configWith(spec.config, assignment.adjusted);
    await replaceFile(paths.config, `${JSON.stringify(config, undefined, 2)}\n`);
    if (assignment.adjusted !== undefined) {
      const line = `beginning with what was adjusted before: ${JSON.stringify(assignment.adjusted)}`;
      init.append({ type: "log", stream: "waybill", line });
    }
    const open = async (what: Fetched, artifact: ArtifactId | undefined, either: AbortSignal) => {
      if (artifact === undefined) return undefined;
      const lease = await openArtifact({ ...init, signal: either }, what, artifact);
      leases.push(lease);
      return lease;
    };
    const [dataset, code, resume] = await allOrNone(signal, (either) => [
      open("dataset", spec.dataset, either),
      open("code", spec.code, either),
      orFromStart(init, open("checkpoint", assignment.resume?.artifact, either)),
    ]);
    signal.throwIfAborted();
    if (code !== undefined) await copyTree(code.dir, paths.work);
    const layOut = async (what: Fetched, lease: CacheLease | undefined) => {
      if (lease === undefined) return undefined;
      const { minFreeBytes } = init;
      return (await layOutTree({ from: lease.dir, to: join(paths.inputs, what), minFreeBytes }))
        .dir;
    };
    const datasetDir = await layOut("dataset", dataset);
    const resumeDir = await layOut("checkpoint", resume);
    const env = trainerEnvironment(
      process.env,
      assignment,
      {
        dataset: datasetDir,
        output: paths.output,
        config: paths.config,
        resume: resumeDir,
      },
      init.passEnv,
    );
    return {
      command,
      cwd: paths.work,
      env,
      deaf: spec.stdin === "empty",
      release: () => {
        for (const lease of leases) lease.release();
      },
    };
  } catch (error) {
    for (const lease of leases) lease.release();
    throw error;
  }
}

/** The checkpoint an earlier attempt left, said in the log; without it the training begins from the start. */
async function orFromStart(
  { assignment, append, signal }: PrepareInit,
  opening: Promise<CacheLease | undefined>,
): Promise<CacheLease | undefined> {
  const { resume } = assignment;
  const say = (line: string) => append({ type: "log", stream: "waybill", line });
  try {
    const lease = await opening;
    if (resume !== undefined && lease !== undefined) {
      const words = JSON.stringify(resume.data);
      say(`resuming from the checkpoint of attempt ${resume.attempt}, ${resume.at}: ${words}`);
    }
    return lease;
  } catch (error) {
    const isGone = error instanceof WaybillError && GONE.has(error.code);
    if (signal.aborted || !isGone) throw error;
    say(`the checkpoint of an earlier attempt cannot be had: ${error.message}; starting anew`);
    return undefined;
  }
}

/** What a hub says of a checkpoint that was removed meanwhile, or that never will be whole. */
const GONE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "not_found",
  "expired",
  "forbidden",
  "digest_mismatch",
  "no_source_left",
]);

/** All, or the first failure once the others, which it calls off, have ended, too. */
async function allOrNone<T>(
  signal: AbortSignal,
  begin: (either: AbortSignal) => readonly [Promise<T>, Promise<T>, Promise<T>],
): Promise<[T, T, T]> {
  const failed = new AbortController();
  const all = begin(AbortSignal.any([signal, failed.signal]));
  try {
    return await Promise.all(all);
  } catch (error) {
    failed.abort();
    await Promise.allSettled(all);
    throw error;
  }
}

function commandOf({ assignment, trainers, capabilities }: PrepareInit): readonly string[] {
  const { spec } = assignment;
  if (spec.trainer === undefined) {
    if (spec.command === undefined || !capabilities.commands) {
      throw new WaybillError("forbidden", "this worker runs its named trainers only");
    }
    return spec.command;
  }
  const command = trainers[spec.trainer];
  if (command === undefined || !Object.hasOwn(trainers, spec.trainer)) {
    throw new WaybillError("not_found", `this worker has no trainer named ${spec.trainer}`);
  }
  const brings = broughtBy(spec);
  if (brings !== undefined && !capabilities.commands) {
    throw new WaybillError(
      "forbidden",
      `this worker runs its named trainers only; a job may not bring ${brings} of its own`,
    );
  }
  return command;
}

async function openArtifact(
  init: PrepareInit,
  what: Fetched,
  artifact: ArtifactId,
): Promise<CacheLease> {
  const { assignment, transfer, append, now, signal } = init;
  const notice = new FetchNotice({ what: nameOf(what, assignment, artifact), nowMs: now() });
  const startMs = performance.now();
  const seconds = () => Math.round(performance.now() - startMs) / 1000;
  let shownMs = Number.NEGATIVE_INFINITY;
  const pull: PullInto = async (dir, { cacheDir, room }) => {
    notice.begun(now());
    return transfer.pull({
      room: assignment.room,
      artifact,
      dir,
      cacheDir,
      onSize: room,
      signal,
      onArriving: (patienceMs) => notice.arriving(patienceMs),
      onProgress: ({ bytes, total }) => {
        notice.progress(bytes, total, now());
        if (performance.now() - shownMs < PROGRESS_MS) return;
        shownMs = performance.now();
        append({
          type: "transfer",
          what,
          direction: "down",
          artifact,
          bytes,
          total,
          seconds: seconds(),
          sources: {},
          done: false,
        });
      },
    });
  };
  const looking = setInterval(() => {
    const line = notice.look(now());
    if (line !== undefined) append({ type: "log", stream: "waybill", line });
  }, init.quietMs);
  let lease: CacheLease;
  try {
    lease = await init.cache.open(artifact, pull, signal);
  } finally {
    clearInterval(looking);
  }
  append({
    type: "transfer",
    what,
    direction: "down",
    artifact,
    bytes: lease.bytes,
    total: lease.bytes,
    seconds: Math.round(lease.seconds * 1000) / 1000,
    sources: { ...lease.sources },
    done: true,
  });
  return lease;
}

/** `dataset ds4`, `code`, `checkpoint` */
function nameOf(what: Fetched, { spec }: JobAssignment, artifact: ArtifactId): string {
  return what === "dataset" ? `${what} ${spec.datasetName ?? artifact.slice(0, 12)}` : what;
}

/** A writable copy (a reflink where the file system has them); executable files stay executable. */
async function copyTree(from: string, to: string): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const source = join(from, entry.name);
    const target = join(to, entry.name);
    if (entry.isDirectory()) {
      await mkdir(target, { recursive: true });
      await copyTree(source, target);
    } else if (entry.isSymbolicLink()) {
      await symlink(await readlink(source), target);
    } else {
      await copyFile(source, target, constants.COPYFILE_FICLONE);
      await chmod(target, (await stat(source)).mode | 0o600);
    }
  }
}

// Where everything of one attempt lies while it is not finished: `{dataDir}/spool/{job}-{attempt}/`.
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { JobId } from "@waybill/sdk/protocol";

export type SpoolPaths = {
  readonly dir: string;
  readonly journal: string;
  readonly events: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly config: string;
  /** Exit status of the trainer, written by its launcher. */
  readonly status: string;
  /** The pipe that is the trainer's standard input. */
  readonly stdin: string;
  /** The trainer's working directory. */
  readonly work: string;
  /** The dataset and the checkpoint to resume from: links into the cache, in folders of the job's own. */
  readonly inputs: string;
  /** `WAYBILL_OUTPUT`: what is published. */
  readonly output: string;
  readonly samples: string;
  /** Copies of checkpoints on their way to the room. */
  readonly checkpoints: string;
};

/** Paths of an attempt's spool; makes the directory. */
export async function openSpool(
  spoolDir: string,
  job: JobId,
  attempt: number,
): Promise<SpoolPaths> {
  const dir = join(spoolDir, `${job}-${attempt}`);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  return spoolPaths(dir);
}

/** Paths inside a spool directory. */
function spoolPaths(dir: string): SpoolPaths {
  return {
    dir,
    journal: join(dir, "run.json"),
    events: join(dir, "events.jsonl"),
    stdout: join(dir, "stdout.log"),
    stderr: join(dir, "stderr.log"),
    config: join(dir, "config.json"),
    status: join(dir, "status"),
    stdin: join(dir, "stdin"),
    work: join(dir, "work"),
    inputs: join(dir, "inputs"),
    output: join(dir, "output"),
    samples: join(dir, "samples"),
    checkpoints: join(dir, "checkpoints"),
  };
}

/** Spools a former daemon left. */
export async function listSpools(spoolDir: string): Promise<SpoolPaths[]> {
  const names = await readdir(spoolDir);
  return names
    .filter((name) => name.startsWith("j_"))
    .map((name) => spoolPaths(join(spoolDir, name)));
}

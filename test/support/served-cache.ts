// A room with a dataset in its store and a worker that has it cached and serves it, for tests of data servers.
import { mkdir } from "node:fs/promises";
import { Lab } from "./lab.ts";
import { writeRandomFile } from "./random-file.ts";
import { ARRIVAL_TRAINER } from "./scripts.ts";
import type { Line, WaybillProcess } from "./waybill-process.ts";

export const DATASET_BYTES = 24 * 1024 * 1024;

export type JobOutcome = {
  readonly exit: number | null;
  readonly state: unknown;
  /** SHA-256 of the dataset's file, as the trainer read it. */
  readonly digest: string | undefined;
  /** Bytes of the dataset by where they came from. */
  readonly sources: Line;
};

export class ServedCache implements AsyncDisposable {
  readonly lab: Lab;
  readonly digest: string;
  readonly artifact: string;
  readonly first: WaybillProcess;
  readonly firstId: string;

  private constructor(
    lab: Lab,
    facts: { digest: string; artifact: string; first: WaybillProcess; firstId: string },
  ) {
    this.lab = lab;
    this.digest = facts.digest;
    this.artifact = facts.artifact;
    this.first = facts.first;
    this.firstId = facts.firstId;
  }

  /** Ends when the hub knows that the worker `one` has the dataset. */
  static async open(options: readonly string[] = []): Promise<ServedCache> {
    const lab = await Lab.open({ counted: true });
    await mkdir(lab.path("data"));
    const digest = await writeRandomFile(lab.path("data", "big.bin"), DATASET_BYTES);
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", ARRIVAL_TRAINER);
    const { artifact } = await lab.ask(["push", lab.path("data")]);
    const { worker: first, workerId } = await lab.startWorker("one", options);
    const facts = { digest, artifact: String(artifact), first, firstId: workerId };
    const room = new ServedCache(lab, facts);
    const outcome = await room.outcome(room.train("one"));
    if (outcome.state !== "completed")
      throw new Error(`the first job ended ${String(outcome.state)}`);
    await room.untilCached(1);
    return room;
  }

  /** Waits until so many workers have told that they have the dataset. */
  async untilCached(count: number): Promise<void> {
    for (;;) {
      const cached = (await this.workers()).filter(({ cached: own = [] }) =>
        (own as readonly string[]).includes(this.artifact),
      );
      if (cached.length === count) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async workers(): Promise<Line[]> {
    const all: Line[] = [];
    const listing = this.lab.start(["worker", "ls"], "owner");
    for await (const line of listing.rest()) all.push(line);
    return all.filter(({ type }) => type === "worker");
  }

  /** A job on the dataset for the worker of this name. */
  train(worker: string): WaybillProcess {
    const code = ["--code", this.lab.path("code"), "--", "node", "train.mjs"];
    return this.lab.start(["train", "-d", this.artifact, "--worker", worker, ...code], "owner");
  }

  async outcome(client: WaybillProcess): Promise<JobOutcome> {
    const lines = await Array.fromAsync(client.rest());
    const said = lines.map(({ line }) => (typeof line === "string" ? line : ""));
    const [, , digest] = said.find((line) => line.startsWith("started "))?.split(" ") ?? [];
    const transfer = lines.findLast((one) => one["what"] === "dataset" && one["done"] === true);
    return {
      exit: await client.exit(),
      state: lines.findLast((line) => line["type"] === "state")?.["state"],
      digest,
      sources: (transfer?.["sources"] ?? {}) as Line,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // One that is stopped cannot end.
    this.first.child.kill("SIGCONT");
    await this.lab[Symbol.asyncDispose]();
  }
}

/** Whether a line tells that some of the dataset has come, and not all of it. */
export function isUnderWay(line: Line): boolean {
  const bytes = Number(line["bytes"] ?? 0);
  return (
    line["type"] === "transfer" && line["what"] === "dataset" && bytes > 0 && bytes < DATASET_BYTES
  );
}

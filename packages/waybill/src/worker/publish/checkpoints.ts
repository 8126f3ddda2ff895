// Checkpoints on their way to the room while training goes on (trainer.md §9). Nothing here slows or fails the training: what
// cannot be kept is said in the log, and the next one is another try.
//
//   take ─▶ asked (newest, newest best) ─▶ copy ─▶ staged (newest, newest best) ─▶ push ─▶ record ─▶ `checkpoint` event
import { mkdir } from "node:fs/promises";
import * as v from "valibot";
import {
  type ArtifactId,
  ArtifactName,
  type JobAssignment,
  type NewJobEvent,
  messageOf,
} from "@waybill/sdk/protocol";
import { removeTree } from "../data-dir/data-dir.ts";
import { isStale } from "../errors.ts";
import type { HubCalls, TransferPort } from "../ports.ts";
import {
  type StageInit,
  type StagedCheckpoint,
  listStaged,
  stageCheckpoint,
} from "./checkpoint-stage.ts";

export type CheckpointsInit = StageInit & {
  readonly hub: HubCalls;
  readonly transfer: TransferPort;
  readonly assignment: JobAssignment;
  /** The newest that is in the room: what it has need not be sent. */
  readonly base: ArtifactId | undefined;
  readonly append: (event: NewJobEvent) => void;
  /** Number of the last one of this attempt that a former daemon recorded. */
  readonly lastN: number | undefined;
  /** Resolves when a daemon that is restarted knows of it: its numbers go on from there. */
  readonly onRecorded: (artifact: ArtifactId, n: number) => Promise<void>;
  /** The attempt is somebody else's now. */
  readonly onStale: (reason: string) => void;
};

type Asked = { readonly path: string; readonly data: Readonly<Record<string, unknown>> };

export class Checkpoints {
  readonly #init: CheckpointsInit;
  readonly #stopped = new AbortController();
  #n = 0;
  #base: ArtifactId | undefined;
  #asked: Asked[] = [];
  #staging: Promise<void> | undefined;
  #staged: StagedCheckpoint[] = [];
  #pushing: Promise<void> | undefined;
  #current: AbortController | undefined;
  #flushing = false;

  constructor(init: CheckpointsInit) {
    this.#init = init;
    this.#base = init.base;
  }

  /** Goes on with what a former daemon had copied and not recorded. */
  async start(): Promise<void> {
    await mkdir(this.#init.dir, { recursive: true, mode: 0o700 });
    const left = await listStaged(this.#init.dir);
    this.#n = Math.max(this.#init.lastN ?? 0, left.at(-1)?.n ?? 0);
    for (const one of left) await this.#enqueue(one);
  }

  /** Takes what a `checkpoint` line names. */
  take(path: string, data: Readonly<Record<string, unknown>>): void {
    if (this.#stopped.signal.aborted) return;
    this.#asked = newestAndBest([...this.#asked, { path, data }]).kept;
    this.#staging ??= this.#stage().finally(() => {
      this.#staging = undefined;
    });
  }

  /**
   * Brings the newest to the room before all others, as quickly as it goes. Resolves when nothing is left to bring, and when
   * `signal` ends the waiting: what is under way goes on until `stop()`.
   */
  async flush(signal: AbortSignal): Promise<void> {
    const over = Promise.withResolvers<void>();
    const end = () => over.resolve();
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
    await Promise.race([this.#flush(), over.promise]);
    signal.removeEventListener("abort", end);
  }

  async #flush(): Promise<void> {
    const first = !this.#flushing;
    this.#flushing = true;
    await this.#staging;
    const newest = this.#staged.pop();
    if (newest !== undefined) {
      const older = this.#staged;
      this.#staged = [newest];
      // The second time there is no time left to begin again.
      if (first) this.#current?.abort();
      for (const { place } of older) await removeTree(place);
    }
    while (this.#pushing !== undefined) await this.#pushing;
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#staging;
    await this.#pushing;
  }

  async #stage(): Promise<void> {
    for (let one = this.#asked.shift(); one !== undefined; one = this.#asked.shift()) {
      if (this.#stopped.signal.aborted) return;
      try {
        await this.#enqueue(await stageCheckpoint(this.#init, ++this.#n, one.path, one.data));
      } catch (error) {
        this.#say(one.data, error);
      }
    }
  }

  async #enqueue(staged: StagedCheckpoint): Promise<void> {
    const { kept, left } = newestAndBest([...this.#staged, staged]);
    this.#staged = kept;
    this.#pushing ??= this.#push().finally(() => {
      this.#pushing = undefined;
    });
    for (const { place } of left) await removeTree(place);
  }

  /** One at a time, in the order they were printed. */
  async #push(): Promise<void> {
    for (let one = this.#staged.shift(); one !== undefined; one = this.#staged.shift()) {
      const abort = new AbortController();
      this.#current = abort;
      try {
        await this.#bring(one, AbortSignal.any([abort.signal, this.#stopped.signal]));
        await removeTree(one.place);
      } catch (error) {
        // Left where it is: a restarted daemon goes on with it.
        if (this.#stopped.signal.aborted) return;
        await removeTree(one.place);
        if (isStale(error)) {
          this.#init.onStale(messageOf(error));
          return;
        }
        if (!abort.signal.aborted) this.#say(one.data, error);
      } finally {
        this.#current = undefined;
      }
    }
  }

  async #bring({ n, files, data }: StagedCheckpoint, signal: AbortSignal): Promise<void> {
    const { hub, transfer, assignment, append, onRecorded } = this.#init;
    const { room, job, attempt } = assignment;
    const { artifact, bytes } = await transfer.push({
      room,
      dir: files,
      name: v.parse(ArtifactName, `checkpoint_${job}`),
      purpose: { kind: "checkpoint", job, attempt },
      base: this.#base,
      background: !this.#flushing,
      signal,
      onProgress: () => undefined,
    });
    await hub.call(
      "recordCheckpoint",
      { params: { room, job }, body: { attempt, artifact, n, data: { ...data } } },
      { signal, retryForMs: Number.POSITIVE_INFINITY },
    );
    this.#base = artifact;
    await onRecorded(artifact, n);
    append({ type: "checkpoint", data: { ...data }, artifact, bytes });
  }

  #say(data: Readonly<Record<string, unknown>>, error: unknown): void {
    if (this.#stopped.signal.aborted) return;
    const path = String(data["path"]);
    const name = path.length > 200 ? `${path.slice(0, 200)}…` : path;
    const line = `checkpoint ${name} was not kept: ${messageOf(error)}`;
    this.#init.append({ type: "log", stream: "waybill", line });
  }
}

/** The newest of all and the newest of the best, in their order: what waits never is more than two. */
function newestAndBest<T extends Asked | StagedCheckpoint>(
  all: readonly T[],
): { readonly kept: T[]; readonly left: readonly T[] } {
  const newest = all.at(-1);
  const best = all.findLast(({ data }) => data["best"] === true);
  return {
    kept: all.filter((one) => one === newest || one === best),
    left: all.filter((one) => one !== newest && one !== best),
  };
}

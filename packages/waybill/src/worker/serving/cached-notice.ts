// Tells the hub what this worker's cache holds (docs/protocol/data-server.md §2): in every hello, and when it changes, at
// most once in a few seconds.
import { type ArtifactId, messageOf } from "@waybill/sdk/protocol";
import type { CachedTrees } from "../cache/cached-trees.ts";
import type { Log } from "../ports.ts";

export type CachedNoticeInit = {
  readonly cache: Pick<CachedTrees, "list" | "onChange">;
  readonly isShared: (artifact: ArtifactId) => Promise<boolean>;
  /** Whether the message went out. */
  readonly send: (artifacts: ArtifactId[]) => boolean;
  readonly log: Log;
  /** Between two messages, in milliseconds. */
  readonly everyMs?: number;
};

/** docs/protocol/signaling.md 11. */
const MAX_TOLD = 256;
const EVERY_MS = 3000;

export class CachedNotice {
  readonly #init: CachedNoticeInit;
  readonly #everyMs: number;
  #list: readonly ArtifactId[] = [];
  #told = "[]";
  #timer: NodeJS.Timeout | undefined;
  #lookedMs = -Infinity;
  #isStopped = false;
  #looking: Promise<void> = Promise.resolve();
  #unsubscribe = () => {};

  constructor(init: CachedNoticeInit) {
    this.#init = init;
    this.#everyMs = init.everyMs ?? EVERY_MS;
  }

  start(): void {
    this.#unsubscribe = this.#init.cache.onChange(() => this.#changed());
  }

  /** For a hello, which tells it. */
  tell(): ArtifactId[] {
    this.#told = JSON.stringify(this.#list);
    return [...this.#list];
  }

  /** The hub can be told, and asked, again. */
  online(): void {
    this.#changed();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#unsubscribe();
    clearTimeout(this.#timer);
    await this.#looking;
  }

  /** The first change is told at once, those that follow it together. */
  #changed(): void {
    if (this.#timer !== undefined || this.#isStopped) return;
    const waitMs = Math.max(0, this.#lookedMs + this.#everyMs - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#lookedMs = performance.now();
      this.#looking = this.#look();
    }, waitMs);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const { cache, isShared, send, log } = this.#init;
    try {
      const list: ArtifactId[] = [];
      for (const { artifact } of await cache.list()) {
        if (list.length === MAX_TOLD || this.#isStopped) break;
        if (await isShared(artifact)) list.push(artifact);
      }
      this.#list = list;
      const text = JSON.stringify(list);
      if (text !== this.#told && !this.#isStopped && send(list)) this.#told = text;
    } catch (error) {
      log("warn", `what the cache holds cannot be told: ${messageOf(error)}`);
    }
  }
}

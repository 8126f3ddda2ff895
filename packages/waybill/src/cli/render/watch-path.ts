// How events reach a viewer, in words; and the notice of it, given once the path has settled: a path that
// comes and goes within a moment, or whose round trip is about to be known, is not told twice.
import type { WatchPath } from "@waybill/sdk/client";
import { assertNever } from "@waybill/sdk/protocol";

/** `webrtc (direct, 3 ms)`, `webrtc (turn, 40 ms)`, `hub (websocket, 12 ms)`, `hub (long polling, 80 ms)`, `stored log`. */
export function describePath(path: WatchPath): string {
  switch (path.kind) {
    case "stored":
      return "stored log";
    case "webrtc":
      return withFacts("webrtc", [path.candidateType === "relay" ? "turn" : "direct"], path.rttMs);
    case "relay":
      return withFacts(
        "hub",
        path.transport === undefined ? [] : [TRANSPORTS[path.transport]],
        path.rttMs,
      );
    default:
      return assertNever(path);
  }
}

const TRANSPORTS = { websocket: "websocket", polling: "long polling" } as const;

function withFacts(name: string, facts: readonly string[], rttMs: number | undefined): string {
  const rtt = rttMs === undefined ? [] : [rttMs < 1 ? "<1 ms" : `${Math.round(rttMs)} ms`];
  const all = [...facts, ...rtt];
  return all.length === 0 ? name : `${name} (${all.join(", ")})`;
}

/** A path that lasts so long is worth a line. */
const SETTLE_MS = 300;
/** The first round trip on a path is waited for so much longer. */
const MEASURE_MS = 1000;

export type PathNoticeInit = {
  readonly show: (path: WatchPath) => void;
  /** Runs later unless cancelled by the result. */
  readonly after?: (ms: number, run: () => void) => () => void;
};

export class PathNotice {
  readonly #init: PathNoticeInit;
  #shown: string | undefined;
  #pending: WatchPath | undefined;
  #cancel = () => {};

  constructor(init: PathNoticeInit) {
    this.#init = init;
  }

  /** The path is this one now. */
  changed(path: WatchPath): void {
    const same = this.#pending !== undefined && kindOf(this.#pending) === kindOf(path);
    this.#pending = path;
    const waitsForTrip = path.kind !== "stored" && path.rttMs === undefined;
    if (same && waitsForTrip) return;
    this.#wait(waitsForTrip && !same ? SETTLE_MS + MEASURE_MS : SETTLE_MS);
  }

  /** Nothing follows: shows what waits unless another path was shown, which a last look at the log does not change. */
  end(): void {
    if (this.#shown === undefined) this.#show();
    this.#cancel();
  }

  #wait(ms: number): void {
    this.#cancel();
    this.#cancel = (this.#init.after ?? later)(ms, () => this.#show());
  }

  #show(): void {
    this.#cancel();
    const path = this.#pending;
    if (path === undefined) return;
    this.#pending = undefined;
    const kind = kindOf(path);
    if (kind === this.#shown) return;
    this.#shown = kind;
    this.#init.show(path);
  }
}

/** What makes a path another one; not how quick it is at the moment. */
function kindOf(path: WatchPath): string {
  return describePath(path.kind === "stored" ? path : { ...path, rttMs: undefined });
}

function later(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

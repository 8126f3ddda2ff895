// Where a watch's events come from, told when it has changed.
import type { LinkPath } from "../swarm/index.ts";

/** How this peer reaches its hub. */
export type HubTransport = "websocket" | "polling";

/** Where events come from now; through the hub, `transport` is this viewer's own half of the way. */
export type WatchPath =
  | Extract<LinkPath, { kind: "webrtc" }>
  | (Extract<LinkPath, { kind: "relay" }> & { readonly transport?: HubTransport | undefined })
  | { readonly kind: "stored" };

export type PathReportInit = {
  /** The live path; undefined while events come from the stored log. */
  readonly live: () => LinkPath | undefined;
  readonly transport: () => HubTransport | undefined;
  readonly onPath: ((path: WatchPath) => void) | undefined;
};

/** Tells of a path once: again when it is another, or its round trip was measured for the first time. */
export class PathReport {
  readonly #init: PathReportInit;
  #told = "";

  constructor(init: PathReportInit) {
    this.#init = init;
  }

  /** Looks at the path now. */
  look(): void {
    const path = this.#current();
    const measured = path.kind !== "stored" && path.rttMs !== undefined;
    const text = JSON.stringify({ ...path, rttMs: measured });
    if (text === this.#told) return;
    this.#told = text;
    this.#init.onPath?.(path);
  }

  #current(): WatchPath {
    const path = this.#init.live();
    if (path === undefined) return { kind: "stored" };
    const transport = this.#init.transport();
    return path.kind === "webrtc" || transport === undefined ? path : { ...path, transport };
  }
}

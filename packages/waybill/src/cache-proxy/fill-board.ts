// Which artifacts are being fetched, for whom, and which may begin (docs/protocol/data-server.md §4). Pure: time comes with
// events. One fill of an artifact however many ask; its readers may come and go.
//
//            asked                 place                    whole
//   (none) ────────▶ waiting ──────────────▶ filling ─────────────────▶ (none: the cache has it)
//      ▲                │ nobody waits           │ failed
//      │◀───────────────┘                        ├──────▶ refused ──REFUSED_MS──▶ (none)
//      └──────────── called off: nobody reads it, and others want its place
import { type ArtifactId, assertNever } from "@waybill/sdk/protocol";

export type FillState =
  | { readonly phase: "waiting"; readonly readers: number }
  /** `leftMs`: since when nobody reads it. */
  | { readonly phase: "filling"; readonly readers: number; readonly leftMs: number }
  /** It is being stopped, and keeps its place until it has. `again`: readers that came meanwhile. */
  | { readonly phase: "stopping"; readonly readers: number }
  | { readonly phase: "refused"; readonly untilMs: number; readonly error: unknown };

/** In the order they were asked for. */
export type FillBoard = ReadonlyMap<ArtifactId, FillState>;

type Body =
  | { readonly type: "asked"; readonly artifact: ArtifactId }
  /** A reader has gone. */
  | { readonly type: "left"; readonly artifact: ArtifactId }
  /** The cache has it now. */
  | { readonly type: "whole"; readonly artifact: ArtifactId }
  | { readonly type: "failed"; readonly artifact: ArtifactId; readonly error: unknown }
  /** It has stopped, as it was told to. */
  | { readonly type: "stopped"; readonly artifact: ArtifactId }
  /** Time has passed; sent now and then while there are fills. */
  | { readonly type: "tick" };
export type FillEvent = Body & { readonly nowMs: number };

export type FillEffect =
  | { readonly type: "start"; readonly artifact: ArtifactId }
  /** What it has fetched stays for the next time. */
  | { readonly type: "stop"; readonly artifact: ArtifactId }
  /** Tell who asked. */
  | { readonly type: "refuse"; readonly artifact: ArtifactId; readonly error: unknown };

export type FillStep = { readonly board: FillBoard; readonly effects: readonly FillEffect[] };

/** Each has connections and buffers of its own, and shares the region's one link with the others. */
export const MAX_FILLS = 4;
/** Fills that nobody reads go on, because whoever restarts comes back for them; but not more than these. */
export const MAX_ABANDONED = 2;
/** Readers make one request after the other: one without any for this long has none. */
export const LINGER_MS = 10_000;
/** An origin that has failed is asked again after this: long enough that fifty readers cost one question. */
export const REFUSED_MS = 2000;
/** Refusals that are remembered. */
const MAX_REFUSED = 1024;

/** What follows on an event; performs nothing. */
export function nextFills(board: FillBoard, event: FillEvent): FillStep {
  const { nowMs } = event;
  const next = new Map(board);
  const effects: FillEffect[] = [];
  if (event.type !== "tick") {
    const { artifact } = event;
    const fill = board.get(artifact);
    if (event.type === "asked" && fill?.phase === "refused" && nowMs < fill.untilMs) {
      return { board, effects: [{ type: "refuse", artifact, error: fill.error }] };
    }
    const after = changed(fill, event);
    // One that begins anew has the last place.
    if (after === undefined || after.phase !== fill?.phase) next.delete(artifact);
    if (after !== undefined) next.set(artifact, after);
  }
  forgetRefusals(next, nowMs);
  callOff(next, nowMs, effects);
  begin(next, nowMs, effects);
  return { board: next, effects };
}

/** One fill after an event of it; undefined when there is nothing to be known of it any more. */
function changed(
  fill: FillState | undefined,
  event: Exclude<FillEvent, { type: "tick" }>,
): FillState | undefined {
  switch (event.type) {
    case "asked":
      if (fill === undefined || fill.phase === "refused") return { phase: "waiting", readers: 1 };
      return { ...fill, readers: fill.readers + 1 };
    case "left":
      return fill === undefined || fill.phase === "refused" ? fill : left(fill, event.nowMs);
    case "whole":
      return undefined;
    case "failed":
      return { phase: "refused", untilMs: event.nowMs + REFUSED_MS, error: event.error };
    case "stopped":
      return fill?.phase === "stopping" && fill.readers > 0
        ? { phase: "waiting", readers: fill.readers }
        : undefined;
    default:
      return assertNever(event);
  }
}

function left(
  fill: Exclude<FillState, { phase: "refused" }>,
  nowMs: number,
): FillState | undefined {
  const readers = Math.max(0, fill.readers - 1);
  if (fill.phase === "filling") return { ...fill, readers, leftMs: nowMs };
  return fill.phase === "waiting" && readers === 0 ? undefined : { ...fill, readers };
}

function forgetRefusals(board: Map<ArtifactId, FillState>, nowMs: number): void {
  const refused = [...board].filter(([, { phase }]) => phase === "refused");
  for (const [at, [artifact, fill]] of refused.entries()) {
    const isOver = fill.phase === "refused" && fill.untilMs <= nowMs;
    if (isOver || refused.length - at > MAX_REFUSED) board.delete(artifact);
  }
}

/** Stops fills that nobody reads: those too many, and one for each that waits for a place. */
function callOff(board: Map<ArtifactId, FillState>, nowMs: number, effects: FillEffect[]): void {
  const abandoned = [...board].flatMap(([artifact, fill]) =>
    fill.phase === "filling" && fill.readers === 0 && nowMs - fill.leftMs >= LINGER_MS
      ? [{ artifact, leftMs: fill.leftMs }]
      : [],
  );
  // Places that are free, or about to be.
  const free = MAX_FILLS - count(board, "filling");
  const wanted = Math.max(count(board, "waiting") - free, abandoned.length - MAX_ABANDONED);
  const longest = abandoned.sort((a, b) => a.leftMs - b.leftMs);
  for (const { artifact } of longest.slice(0, Math.max(0, wanted))) {
    board.set(artifact, { phase: "stopping", readers: 0 });
    effects.push({ type: "stop", artifact });
  }
}

function begin(board: Map<ArtifactId, FillState>, nowMs: number, effects: FillEffect[]): void {
  let free = MAX_FILLS - count(board, "filling") - count(board, "stopping");
  for (const [artifact, fill] of board) {
    if (free <= 0) return;
    if (fill.phase !== "waiting") continue;
    board.set(artifact, { phase: "filling", readers: fill.readers, leftMs: nowMs });
    effects.push({ type: "start", artifact });
    free -= 1;
  }
}

function count(board: FillBoard, phase: FillState["phase"]): number {
  return [...board.values()].filter((fill) => fill.phase === phase).length;
}

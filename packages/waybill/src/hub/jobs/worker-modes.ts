// What a room's members want of its workers: `{room}/workers.json`, changed by compare-and-swap. A worker without an entry
// is active.
import {
  PeerId,
  type RoomId,
  type RouteBody,
  WaybillError,
  WorkerMode,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Documents } from "../bucket/documents.ts";
import type { Clock } from "../log.ts";

const ModesDoc = v.object({ workers: v.record(PeerId, WorkerMode) });
type Modes = Readonly<Record<PeerId, WorkerMode>>;

/** Another hub's change may be seen so much later. */
const MAX_AGE_MS = 30_000;
/** Entries of a room; the oldest active ones go first. */
const MAX_ENTRIES = 512;

export class WorkerModes {
  readonly #documents: Documents;
  readonly #clock: Clock;
  readonly #known = new Map<RoomId, { readonly atMs: number; readonly modes: Modes }>();

  constructor(documents: Documents, clock: Clock) {
    this.#documents = documents;
    this.#clock = clock;
  }

  /** Modes of a room's workers, at most half a minute old. Throws `storage_failed`. */
  async of(room: RoomId): Promise<Modes> {
    const known = this.#known.get(room);
    if (known !== undefined && this.#clock() - known.atMs <= MAX_AGE_MS) return known.modes;
    const read = await this.#documents.read(ModesDoc, keyOf(room));
    return this.#remember(room, read?.doc.workers ?? {});
  }

  /** Throws `not_found` for a worker that is neither `here` nor known, `invalid_request`. */
  async set(
    room: RoomId,
    worker: PeerId,
    wanted: RouteBody<"setWorkerMode">,
    by: { readonly who: string; readonly here: boolean },
  ): Promise<WorkerMode> {
    assertWellFormed(wanted);
    const since = new Date(this.#clock()).toISOString();
    const mode: WorkerMode = { ...wanted, by: by.who.slice(0, 64), since };
    const updated = await this.#documents.update(ModesDoc, keyOf(room), (doc) => {
      const workers = doc?.workers ?? {};
      if (!by.here && workers[worker] === undefined) {
        throw new WaybillError("not_found", `no worker ${worker} in room ${room}`, {
          hint: "see `waybill worker ls`",
        });
      }
      return { workers: bounded({ ...workers, [worker]: mode }) };
    });
    this.#remember(room, updated?.doc.workers ?? {});
    return mode;
  }

  #remember(room: RoomId, modes: Modes): Modes {
    this.#known.set(room, { atMs: this.#clock(), modes });
    return modes;
  }
}

function assertWellFormed({ mode, for: whom }: RouteBody<"setWorkerMode">): void {
  if ((mode === "reserved") === (whom !== undefined)) return;
  const problem = mode === "reserved" ? "for: reserved for whom?" : `for: ${mode} is for nobody`;
  throw new WaybillError("invalid_request", problem);
}

function bounded(workers: Modes): Record<PeerId, WorkerMode> {
  const entries = Object.entries(workers) as [PeerId, WorkerMode][];
  const surplus = entries.length - MAX_ENTRIES;
  if (surplus <= 0) return workers;
  const oldest = entries
    .filter(([, { mode }]) => mode === "active")
    .sort(([, a], [, b]) => ((a.since ?? "") < (b.since ?? "") ? -1 : 1))
    .slice(0, surplus);
  const gone = new Set(oldest.map(([worker]) => worker));
  return Object.fromEntries(entries.filter(([worker]) => !gone.has(worker)));
}

function keyOf(room: RoomId): string {
  return `${room}/workers.json`;
}

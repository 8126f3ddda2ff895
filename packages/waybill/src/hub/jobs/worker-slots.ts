// A connected worker as the room's dispatch sees it: what it can, and the jobs it has or is being given.
import type { JobId, PeerId, WorkerMode } from "@waybill/sdk/protocol";
import type { ConnectedPeer } from "../signaling/index.ts";
import type { Candidate } from "./matching.ts";
import type { Present } from "./silent-worker.ts";

/** A job a worker has, or is being given. */
export type Slot = {
  /** Unknown while the assignment is being stored. */
  attempt: number | undefined;
  /** Whose share of the queue it counts for; unknown until a held job was looked at. */
  submitter?: string;
  accepted: boolean;
  /** Runs while an offer is unanswered. */
  timer: NodeJS.Timeout | undefined;
};

/** A connected worker as matching sees it. */
export class WorkerSlots implements Present {
  readonly peer: ConnectedPeer;
  readonly capabilities: Candidate["capabilities"];
  readonly slots = new Map<JobId, Slot>();
  mode: WorkerMode | undefined;
  idleSinceMs: number;

  constructor(peer: ConnectedPeer, capabilities: Candidate["capabilities"], nowMs: number) {
    this.peer = peer;
    this.capabilities = capabilities;
    this.idleSinceMs = nowMs;
  }

  get workerId(): PeerId {
    return this.peer.info.peerId;
  }

  get name(): string {
    return this.peer.info.name;
  }

  get cached(): Candidate["cached"] {
    return this.peer.worker?.cached ?? [];
  }

  get busy(): number {
    return this.slots.size;
  }

  has(job: JobId, attempt: number): boolean {
    return this.slots.get(job)?.attempt === attempt;
  }
}

// What an attempt is made of, put together: its log and who stores it, its lease, its journal, its publisher.
import type {
  JobAssignment,
  JobId,
  NewJobEvent,
  PeerId,
  WorkerCapabilities,
} from "@waybill/sdk/protocol";
import { messageOf } from "@waybill/sdk/protocol";
import type { ArtifactCache } from "../cache/artifact-cache.ts";
import { isStaleOrGone } from "../errors.ts";
import { EventLog } from "../events/event-log.ts";
import type { GpuReader } from "../events/gpus.ts";
import { SegmentFlusher } from "../events/segment-flusher.ts";
import { SystemMetrics } from "../events/system-metrics.ts";
import type { FeedPort, HubCalls, Log, StorePort, TransferPort } from "../ports.ts";
import { Checkpoints } from "../publish/checkpoints.ts";
import { keepOutput } from "../publish/keep-output.ts";
import { Publisher } from "../publish/publisher.ts";
import type { WorkerTiming } from "../timing.ts";
import { Results } from "../trainers/results.ts";
import { Samples } from "../trainers/samples.ts";
import { DiskGuard } from "./disk-guard.ts";
import { Lease, type LeaseState } from "./lease.ts";
import { RunJournal, type RunRecord } from "./run-journal.ts";
import type { SpoolPaths } from "./spool.ts";

/** What every job of a worker shares. */
export type RunContext = {
  readonly hub: HubCalls;
  readonly transfer: TransferPort;
  /** The object store by the worker's own credentials. */
  readonly store: StorePort | undefined;
  readonly feed: FeedPort;
  readonly cache: ArtifactCache;
  readonly gpus: GpuReader;
  readonly trainers: Readonly<Record<string, readonly string[]>>;
  readonly capabilities: WorkerCapabilities;
  readonly passEnv: readonly string[];
  /** Whether checkpoints are kept in the room while training goes on. */
  readonly checkpoints: boolean;
  readonly minFreeBytes: number;
  readonly freeBytes: (dir: string) => Promise<number>;
  readonly timing: WorkerTiming;
  readonly digest: (bytes: Uint8Array) => string;
  readonly now: () => number;
  readonly log: Log;
  /** This worker, once the hub has welcomed it. */
  readonly workerId: () => PeerId | undefined;
};

export type RunParts = {
  readonly events: EventLog;
  readonly flusher: SegmentFlusher;
  readonly lease: Lease;
  readonly journal: RunJournal;
  readonly samples: Samples;
  readonly metrics: SystemMetrics;
  readonly disk: DiskGuard;
  readonly results: Results;
  readonly publisher: Publisher;
  /** Absent: checkpoints stay on this worker. */
  readonly checkpoints: Checkpoints | undefined;
  /** Appends unless the log has ended or has no number left; tells whether it did. */
  readonly append: (event: NewJobEvent) => boolean;
};

export type PartsInit = {
  readonly context: RunContext;
  readonly paths: SpoolPaths;
  readonly record: RunRecord;
  readonly signal: AbortSignal;
  readonly leaseState: () => LeaseState;
  readonly onStale: (reason: string) => void;
  readonly onDiskLow: () => void;
};

/** Opens an attempt's parts; nothing of them runs before `startParts`. */
export async function openParts(init: PartsInit): Promise<RunParts> {
  const { context, paths, record } = init;
  const { assignment } = record;
  const ids = { room: assignment.room, job: assignment.job, attempt: assignment.attempt };
  const shared = { hub: context.hub, ...ids };
  const journal = new RunJournal(paths.journal, record);
  const events = await EventLog.open({
    path: paths.events,
    attempt: assignment.attempt,
    firstSeq: assignment.firstSeq,
    seqReserved: record.seqReserved,
    now: context.now,
    log: context.log,
  });
  const append = (event: NewJobEvent): boolean => appendTo(events, event, ids.job, context.log);
  const note = (change: Partial<RunRecord>) => {
    journal.update(change).catch((error: unknown) => {
      context.log("error", `${ids.job}: cannot write its journal: ${messageOf(error)}`);
    });
  };
  return {
    events,
    journal,
    append,
    results: new Results(),
    flusher: new SegmentFlusher({
      ...shared,
      log: events,
      storedSeq: record.storedSeq,
      flushMs: context.timing.flushMs,
      onStored: (storedSeq) => note({ storedSeq }),
      onFailed: (error) => {
        if (isStaleOrGone(error)) init.onStale(messageOf(error));
        else context.log("error", `${ids.job}: cannot store its events: ${messageOf(error)}`);
      },
    }),
    lease: new Lease({
      ...shared,
      log: events,
      intervalMs: Math.min(context.timing.leaseMs, (assignment.leaseMs ?? Infinity) / 4),
      state: init.leaseState,
      adjusted: () => journal.record.adjusted,
      onReserved: (seqReserved) => note({ seqReserved }),
      onLost: init.onStale,
      report: context.log,
    }),
    samples: new Samples({
      ...shared,
      spoolDir: paths.samples,
      roots: [paths.output, paths.work],
      digest: context.digest,
      show: (image) => context.feed.showSample(ids.job, image),
      append,
      signal: init.signal,
    }),
    metrics: new SystemMetrics({
      dir: paths.dir,
      gpus: context.gpus,
      intervalMs: context.timing.systemMs,
      onSample: (system) => {
        // Samples give way to output when numbers run short.
        if (events.hasRoom) append({ type: "system", system });
      },
    }),
    disk: new DiskGuard({
      dir: paths.dir,
      minFreeBytes: context.minFreeBytes,
      freeBytes: context.freeBytes,
      intervalMs: context.timing.diskMs,
      onLow: (freeBytes) => {
        context.log("warn", `${ids.job}: its disk has ${freeBytes} bytes left`);
        init.onDiskLow();
      },
    }),
    checkpoints: context.checkpoints
      ? new Checkpoints({
          hub: context.hub,
          transfer: context.transfer,
          assignment,
          dir: paths.checkpoints,
          roots: [paths.output, paths.work],
          minFreeBytes: context.minFreeBytes,
          freeBytes: context.freeBytes,
          base: record.checkpoint ?? assignment.resume?.artifact,
          append,
          lastN: record.checkpointN,
          onRecorded: (checkpoint, checkpointN) => journal.update({ checkpoint, checkpointN }),
          onStale: init.onStale,
        })
      : undefined,
    publisher: new Publisher({
      hub: context.hub,
      transfer: context.transfer,
      assignment,
      digest: context.digest,
      keep: (tree) => keepOutput({ ...tree, cache: context.cache, log: context.log }),
      store: context.store,
      hubLostMs: context.timing.hubLostMs,
      stored: record.stored,
      onStored: (stored) => journal.update({ stored }),
      model: record.model,
      onReserved: (model) => note({ model }),
    }),
  };
}

/** Ends every part that works by itself; the log stays open for readers. */
export async function stopParts(parts: RunParts): Promise<void> {
  const { metrics, disk, lease, flusher, checkpoints } = parts;
  await Promise.all([
    metrics.stop(),
    disk.stop(),
    lease.stop(),
    flusher.stop(),
    checkpoints?.stop(),
  ]);
}

function appendTo(events: EventLog, event: NewJobEvent, job: JobId, log: Log): boolean {
  if (events.sealed) return false;
  try {
    events.append(event);
    return true;
  } catch (error) {
    log("warn", `${job}: a ${event.type} event was lost: ${messageOf(error)}`);
    return false;
  }
}

/** The record of an attempt that has just been assigned. */
export function newRecord(assignment: JobAssignment): RunRecord {
  return {
    format: 1,
    assignment,
    stage: "preparing",
    storedSeq: assignment.firstSeq - 1,
    seqReserved: assignment.seqReserved,
  };
}

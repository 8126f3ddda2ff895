// Every time the worker waits for something, in one place, so that tests can make them short.

export type WorkerTiming = {
  /** Between lease renewals: a quarter of `LIMITS.leaseMs`, so that three may be lost. */
  readonly leaseMs: number;
  /** Between looks at the disk's free space. */
  readonly diskMs: number;
  /** Between system samples. */
  readonly systemMs: number;
  /** An event waits at most this long before it is stored in a segment. */
  readonly flushMs: number;
  /** A stopped trainer may write its model for this long between SIGTERM and SIGKILL. */
  readonly stopGraceMs: number;
  /** A cancelled trainer has nothing to save. */
  readonly cancelGraceMs: number;
  /** Orchestrators kill 30 s after their SIGTERM; the outcome must be told by then. */
  readonly shutdownGraceMs: number;
  /** A worker that may vanish asks for a checkpoint first: so long a trainer has that has ever written or answered one, */
  readonly saveMs: number;
  /** and so long one that has not: it probably never will. */
  readonly saveUnknownMs: number;
  /** Bringing the newest checkpoint to the room may take so long before the trainer is ended, */
  readonly leaveFlushMs: number;
  /** which then has until `shutdownGraceMs` are over, and this at least; */
  readonly leaveGraceMs: number;
  /** what it has written in its last moments must be in the room by then, counted from the beginning. */
  readonly leaveMs: number;
  /** How long a command may take to show its effect before it is rejected. */
  readonly verifyMs: number;
  /** How long a trainer may take to say that it has taken new values. */
  readonly adjustMs: number;
  /** How long it may take to write a checkpoint it was asked for: large models go to slow disks. */
  readonly checkpointMs: number;
  /** Samples the trainer has shown come before its result, unless storing one takes longer than anybody wants to wait. */
  readonly resultSamplesMs: number;
  /** A hub that has not answered for so long is done without, where the worker can: longer than a restart takes. */
  readonly hubLostMs: number;
  /** Between tries to tell the hub of a job's end after an answer that trying again at once does not mend. */
  readonly endAgainMs: number;
  /** An ended job's live log stays this long for viewers that are still reading. */
  readonly lingerMs: number;
  /** `stop()` gives running jobs the grace above and this for storing what is left. */
  readonly shutdownMs: number;
  /** Between looks at whether a job that fetches what it needs has something to say about it. */
  readonly quietMs: number;
  /** Between looks at a trainer's output where the file system does not notify. */
  readonly pollMs: number;
};

export const WORKER_TIMING: WorkerTiming = {
  leaseMs: 15_000,
  diskMs: 1000,
  systemMs: 2000,
  flushMs: 2000,
  stopGraceMs: 30_000,
  cancelGraceMs: 5000,
  shutdownGraceMs: 20_000,
  saveMs: 8000,
  saveUnknownMs: 2000,
  leaveFlushMs: 12_000,
  leaveGraceMs: 4000,
  leaveMs: 26_000,
  verifyMs: 5000,
  adjustMs: 30_000,
  checkpointMs: 300_000,
  resultSamplesMs: 250,
  hubLostMs: 60_000,
  endAgainMs: 5000,
  lingerMs: 10_000,
  shutdownMs: 8000,
  quietMs: 1000,
  pollMs: 100,
};

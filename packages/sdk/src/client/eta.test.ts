import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JobEvent, JobState, NewJobEvent } from "../protocol/index.ts";
import { newEta, nextEta, remainingMs } from "./eta.ts";

/** A job's events at times of its own clock, in seconds. */
class Job {
  eta = newEta();
  attempt = 1;
  #seq = 0;

  constructor(config: Record<string, unknown> = {}) {
    this.eta = newEta(config);
    this.state(0, "running");
  }

  event(seconds: number, body: NewJobEvent): void {
    this.#seq += 1;
    const time = new Date(seconds * 1000).toISOString();
    const event: JobEvent = { ...body, seq: this.#seq, time, attempt: this.attempt };
    this.eta = nextEta(this.eta, event);
  }

  state(seconds: number, state: JobState): void {
    this.event(seconds, { type: "state", state });
  }

  metric(seconds: number, data: Record<string, unknown>): void {
    this.event(seconds, { type: "metric", data });
  }

  left(seconds: number): number | undefined {
    const ms = remainingMs(this.eta, seconds * 1000);
    return ms === undefined ? undefined : ms / 1000;
  }
}

describe("the time a job has left", () => {
  it("is its last epochs' pace for those to come, less what the present one has taken", () => {
    const job = new Job();
    job.metric(60, { epoch: 1, epochs: 10 });
    expect(job.left(60)).toBeUndefined();
    job.metric(70, { epoch: 2, epochs: 10 });
    expect(job.left(70)).toBe(80);
    expect(job.left(74)).toBe(76);
    job.metric(80, { epoch: 3, epochs: 10 });
    // An epoch that takes long does not make the rest shorter.
    expect(job.left(1000)).toBe(60);
  });

  it("does not believe in one slow epoch", () => {
    const job = new Job();
    let at = 0;
    for (let epoch = 1; epoch <= 6; epoch++)
      job.metric((at += epoch === 4 ? 500 : 10), { epoch, epochs: 16 });
    expect(job.left(at)).toBe(100);
  });

  it("counts from 0 where the first epoch is called so", () => {
    const job = new Job({ max_epochs: 4 });
    job.metric(10, { epoch: 0, loss: 1 });
    job.metric(20, { epoch: 1, loss: 1 });
    expect(job.left(20)).toBe(20);
    job.metric(40, { epoch: 3, loss: 1 });
    expect(job.left(40)).toBeUndefined();
  });

  it("takes batches for parts of their epoch", () => {
    const job = new Job();
    job.metric(0, { epoch: 1, epochs: 3, batch: 0, batches: 4 });
    job.metric(40, { epoch: 2, epochs: 3, batch: 0, batches: 4 });
    job.metric(60, { epoch: 2, epochs: 3, batch: 2, batches: 4 });
    expect(job.left(60)).toBe(60);
  });

  it("goes by steps where there are no epochs, in hundredths of the whole", () => {
    const job = new Job();
    for (let step = 0; step <= 500; step += 5) job.metric(step / 10, { step, max_steps: 1000 });
    expect(job.left(50)).toBeCloseTo(50);
  });

  it("counts no pause", () => {
    const job = new Job();
    job.metric(10, { epoch: 1, epochs: 10 });
    job.metric(20, { epoch: 2, epochs: 10 });
    job.state(25, "paused");
    expect(job.left(500)).toBe(80);
    job.state(1000, "running");
    job.metric(1005, { epoch: 3, epochs: 10 });
    expect(job.left(1005)).toBe(70);
  });

  it("counts neither the way to another worker nor epochs that are done again", () => {
    const job = new Job();
    for (let epoch = 1; epoch <= 5; epoch++) job.metric(epoch * 10, { epoch, epochs: 10 });
    job.state(55, "interrupted");
    job.attempt = 2;
    job.state(300, "running");
    // From a checkpoint after epoch 3; its first pace is not known yet, the former worker's is.
    job.metric(330, { epoch: 4, epochs: 10 });
    expect(job.left(330)).toBe(60);
    for (let epoch = 5; epoch <= 9; epoch++)
      job.metric(330 + (epoch - 4) * 30, { epoch, epochs: 10 });
    expect(job.left(480)).toBe(30);
  });

  it("is not told once the job is done, or nothing says how far it goes", () => {
    const job = new Job();
    job.metric(10, { epoch: 1, loss: 1 });
    job.metric(20, { epoch: 2, loss: 1 });
    expect(job.left(20)).toBeUndefined();
    job.metric(30, { epoch: 3, epochs: 3 });
    expect(job.left(30)).toBeUndefined();
  });

  it("is never negative or not a number, whatever a trainer prints", () => {
    const number = fc.oneof(fc.integer({ min: -3, max: 40 }), fc.double());
    const data = fc.dictionary(
      fc.constantFrom("epoch", "epochs", "batch", "batches", "step", "max_steps"),
      number,
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(5000), data, fc.nat(3)), { maxLength: 30 }), (steps) => {
        const job = new Job({ epochs: 7 });
        for (const [at, metric, kind] of steps) {
          if (kind === 0) job.state(at, "paused");
          if (kind === 1) job.attempt += 1;
          job.metric(at, metric);
          expect(job.left(at + 100) ?? 0).toBeGreaterThanOrEqual(0);
        }
      }),
    );
  });
});

// Who wants a job's sample images: one sender for each subscription that asked for them.
import type { JobId } from "../protocol/index.ts";
import type { Clock } from "./clock.ts";
import type { ControlLink } from "./peer-links.ts";
import { type SampleImage, SampleSender } from "./sample-sender.ts";

type Wanted = { readonly job: JobId; readonly sender: SampleSender };

export class SampleBoard {
  readonly #clock: Clock;
  readonly #wanted = new Map<ControlLink, Map<string, Wanted>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A subscription asks for a job's images, perhaps again: what is on its way goes on. */
  want(link: ControlLink, id: string, job: JobId): void {
    const wanted = this.#wanted.get(link) ?? new Map<string, Wanted>();
    if (wanted.get(id)?.job === job) return;
    this.unwant(link, id);
    const sender = new SampleSender({
      streams: link.bulk,
      clock: this.#clock,
      tell: (sample, stage, stream) => {
        const on = stream === undefined ? {} : { stream };
        link.send({ type: "sample", id, job, ...sample, stage, ...on });
      },
    });
    this.#wanted.set(link, wanted.set(id, { job, sender }));
  }

  unwant(link: ControlLink, id: string): void {
    const wanted = this.#wanted.get(link);
    wanted?.get(id)?.sender.stop();
    wanted?.delete(id);
    if (wanted?.size === 0) this.#wanted.delete(link);
  }

  /** The link is closed. */
  drop(link: ControlLink): void {
    for (const { sender } of this.#wanted.get(link)?.values() ?? []) sender.stop();
    this.#wanted.delete(link);
  }

  offer(job: JobId, image: SampleImage): void {
    for (const wanted of this.#wanted.values()) {
      for (const one of wanted.values()) if (one.job === job) one.sender.offer(image);
    }
  }

  stop(): void {
    const links = [...this.#wanted.keys()];
    for (const link of links) this.drop(link);
  }
}

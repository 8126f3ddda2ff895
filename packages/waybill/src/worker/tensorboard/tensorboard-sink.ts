// A job's metrics as event files TensorBoard reads. They are written from the event log, one record for each metric
// with a number, in the log's order: how many records there are tells a restarted daemon where to go on. A file is
// never opened again; what follows a crash goes into the next one.
import { copyFile, mkdir, open, readFile, readdir, truncate } from "node:fs/promises";
import { join } from "node:path";
import type { JobEvent } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import { hasCode } from "../data-dir/files.ts";
import type { EventLogReader } from "../ports.ts";
import { encodeFileVersion, encodeScalars } from "./event-message.ts";
import { countRecords, encodeRecord } from "./records.ts";
import { pointOf } from "./scalars.ts";

export type TensorBoardInit = {
  /** Where the files are written: beside the output, which has to stay the trainer's own. */
  readonly dir: string;
  /** `WAYBILL_OUTPUT`; the files are put into `tensorboard/` there once the trainer has written a model. */
  readonly output: string;
  readonly log: Pick<EventLogReader, "firstSeq" | "read" | "subscribe">;
  /** Between writes, so that metrics of a busy trainer go together. */
  readonly writeMs: number;
  readonly onFailed: (error: unknown) => void;
};

const PAGE_EVENTS = 512;
const NAME = /^events\.out\.tfevents\.\d+\.waybill\.(\d+)$/;

export class TensorBoardSink {
  readonly #init: TensorBoardInit;
  readonly #stopping = new AbortController();
  #file: string | undefined;
  #files = 0;
  /** Records of former daemons, which are there. */
  #known = 0;
  /** Metrics met. */
  #ordinal = 0;
  #points = 0;
  #readSeq: number;
  #pumping: Promise<void> | undefined;
  #unsubscribe: (() => void) | undefined;

  constructor(init: TensorBoardInit) {
    this.#init = init;
    this.#readSeq = init.log.firstSeq - 1;
  }

  async start(): Promise<void> {
    await mkdir(this.#init.dir, { recursive: true, mode: 0o700 });
    for (const name of await this.#names()) {
      const path = join(this.#init.dir, name);
      const bytes = await readFile(path);
      const whole = countRecords(bytes);
      if (whole.bytes < bytes.length) await truncate(path, whole.bytes);
      // The first record of a file tells its version.
      this.#known += Math.max(0, whole.records - 1);
      this.#files = Math.max(this.#files, Number(NAME.exec(name)?.[1] ?? 0));
    }
    this.#unsubscribe = this.#init.log.subscribe(() => this.#wake());
    this.#wake();
  }

  /** Writes what the log has and lays the files into the output, unless that is empty. */
  async finish(): Promise<void> {
    await this.stop();
    await this.#pump();
    const { dir, output } = this.#init;
    const written = await readdir(output).catch(() => []);
    const names = await this.#names();
    if (written.length === 0 || names.length === 0) return;
    await mkdir(join(output, "tensorboard"), { recursive: true });
    for (const name of names) await copyFile(join(dir, name), join(output, "tensorboard", name));
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#stopping.abort();
    await this.#pumping;
  }

  #wake(): void {
    this.#pumping ??= this.#later()
      .catch(this.#init.onFailed)
      .finally(() => {
        this.#pumping = undefined;
      });
  }

  async #later(): Promise<void> {
    await delay(this.#init.writeMs, this.#stopping.signal).catch(() => undefined);
    if (!this.#stopping.signal.aborted) await this.#pump();
  }

  async #pump(): Promise<void> {
    for (;;) {
      const events = await this.#init.log.read(this.#readSeq, PAGE_EVENTS);
      const last = events.at(-1);
      if (last === undefined) return;
      const records = events.flatMap((event) => this.#record(event));
      if (records.length > 0) await this.#append(Buffer.concat(records), events);
      this.#readSeq = last.seq;
    }
  }

  #record(event: JobEvent): Buffer[] {
    if (event.type !== "metric") return [];
    const point = pointOf(event.data, this.#ordinal);
    this.#ordinal += 1;
    if (point === undefined) return [];
    this.#points += 1;
    if (this.#points <= this.#known) return [];
    return [encodeRecord(encodeScalars(secondsOf(event), point.step, point.scalars))];
  }

  async #append(bytes: Buffer, [first]: readonly JobEvent[]): Promise<void> {
    if (this.#file === undefined) {
      const seconds = Math.floor(first === undefined ? 0 : secondsOf(first));
      this.#files += 1;
      const number = String(this.#files).padStart(4, "0");
      const name = `events.out.tfevents.${String(seconds).padStart(10, "0")}.waybill.${number}`;
      const path = join(this.#init.dir, name);
      await write(path, encodeRecord(encodeFileVersion(seconds)));
      this.#file = path;
    }
    await write(this.#file, bytes);
  }

  async #names(): Promise<string[]> {
    try {
      return (await readdir(this.#init.dir)).filter((name) => NAME.test(name)).sort();
    } catch (error) {
      if (hasCode(error, "ENOENT")) return [];
      throw error;
    }
  }
}

async function write(path: string, bytes: Buffer): Promise<void> {
  const file = await open(path, "a", 0o644);
  try {
    await file.writeFile(bytes);
  } finally {
    await file.close();
  }
}

function secondsOf(event: JobEvent): number {
  return Date.parse(event.time) / 1000;
}

// The file behind a job's log: one event a line, numbers consecutive. A sparse index finds any number
// with one read of a few hundred lines, so memory does not grow with the log to speak of.
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { JobEvent, WaybillError, decodeJson, LIMITS } from "@waybill/sdk/protocol";
import { encodeEvent } from "./encode.ts";

/** Lines between index entries: 1 M events keep 4,000 entries. */
const INDEX_EVERY = 256;
const READ_BYTES = 256 * 1024;
const LF = 0x0a;

export class EventFile {
  readonly firstSeq: number;
  readonly #file: FileHandle;
  /** Offset of line `i * INDEX_EVERY`. */
  readonly #index: number[] = [];
  #lines = 0;
  #bytes = 0;
  /** Bytes that survive a loss of power. */
  #syncedBytes = 0;

  private constructor(file: FileHandle, firstSeq: number) {
    this.#file = file;
    this.firstSeq = firstSeq;
  }

  /** Opens or makes the file; a line that a crash tore is cut off. */
  static async open(path: string, firstSeq: number): Promise<EventFile> {
    const file = await open(path, "a+", 0o600);
    const log = new EventFile(file, firstSeq);
    await log.#scan();
    if (log.#lines === 0) await syncDir(dirname(path));
    return log;
  }

  /** Number of the last event in the file; `firstSeq - 1` when it is empty. */
  get lastSeq(): number {
    return this.firstSeq + this.#lines - 1;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Appends events, in order and without a gap; they survive this process when it resolves. Returns each line's bytes. */
  async append(events: readonly JobEvent[]): Promise<number[]> {
    const lines = events.map(encodeEvent);
    const data = Buffer.from(lines.join(""));
    let written = 0;
    try {
      while (written < data.length) {
        const { bytesWritten } = await this.#file.write(data, written, data.length - written);
        written += bytesWritten;
      }
    } catch (error) {
      // Half a batch (no space left): take it back, so that writing it again repeats nothing.
      await this.#file.truncate(this.#bytes);
      throw error;
    }
    const lengths = lines.map((line) => Buffer.byteLength(line));
    for (const length of lengths) this.#count(length);
    return lengths;
  }

  /** Resolves when everything appended so far survives a loss of power, too. */
  async sync(): Promise<void> {
    const bytes = this.#bytes;
    if (bytes === this.#syncedBytes) return;
    await this.#file.datasync();
    this.#syncedBytes = Math.max(this.#syncedBytes, bytes);
  }

  /** Up to `limit` events after `sinceSeq`. */
  async read(sinceSeq: number, limit: number): Promise<JobEvent[]> {
    const first = Math.max(0, sinceSeq + 1 - this.firstSeq);
    const count = Math.min(limit, this.#lines - first);
    if (count <= 0) return [];
    const entry = Math.floor(first / INDEX_EVERY);
    const skip = first - entry * INDEX_EVERY;
    const events: JobEvent[] = [];
    let line = 0;
    for await (const text of this.#readLines(this.#index[entry] ?? 0)) {
      if (line++ < skip) continue;
      events.push(
        decodeJson(JobEvent, text, `event ${this.firstSeq + first}`, 2 * LIMITS.eventBytes),
      );
      if (events.length === count) break;
    }
    return events;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #count(lineBytes: number): void {
    if (this.#lines % INDEX_EVERY === 0) this.#index.push(this.#bytes);
    this.#lines += 1;
    this.#bytes += lineBytes;
  }

  async #scan(): Promise<void> {
    for await (const text of this.#readLines(0)) this.#count(Buffer.byteLength(text) + 1);
    const { size } = await this.#file.stat();
    if (size > this.#bytes) await this.#file.truncate(this.#bytes);
    if (this.#lines === 0) return;
    const [last] = await this.read(this.lastSeq - 1, 1);
    if (last?.seq !== this.lastSeq) {
      throw new WaybillError(
        "local_io",
        `a job's event log is damaged: line ${this.#lines} is not event ${this.lastSeq}`,
      );
    }
  }

  /** Whole lines from an offset on, without their LF. */
  async *#readLines(from: number): AsyncGenerator<string> {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let carry: Buffer = Buffer.alloc(0);
    for (let offset = from; ;) {
      const { bytesRead } = await this.#file.read(buffer, 0, READ_BYTES, offset);
      if (bytesRead === 0) return;
      offset += bytesRead;
      const bytes = Buffer.concat([carry, buffer.subarray(0, bytesRead)]);
      let start = 0;
      for (let end = bytes.indexOf(LF); end !== -1; end = bytes.indexOf(LF, start)) {
        yield bytes.toString("utf8", start, end);
        start = end + 1;
      }
      carry = bytes.subarray(start);
    }
  }
}

/** A new file's name is its directory's to keep. */
async function syncDir(dir: string): Promise<void> {
  const handle = await open(dir, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

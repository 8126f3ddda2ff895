// CSV logs as Keras (`CSVLogger`) and Lightning (`metrics.csv`) write them: every row a metric. The file is looked at
// several times a second and may appear late, be cut or be written anew.
import { StringDecoder } from "node:string_decoder";
import { type NewJobEvent, isAbort, messageOf } from "@waybill/sdk/protocol";
import type { AdapterInit, ProgressAdapter, TrainerPhase } from "../progress-adapter.ts";
import { CsvRecords } from "./csv-records.ts";
import { CsvRows } from "./csv-rows.ts";
import { GrowingFile } from "./growing-file.ts";
import { ToldRows } from "./told-rows.ts";

export type CsvInit = AdapterInit & {
  readonly path: string;
  /** `WAYBILL_OUTPUT` and the working directory. */
  readonly roots: readonly string[];
  readonly pollMs: number;
};

export class CsvAdapter implements ProgressAdapter {
  readonly hints = { placeholders: {}, env: {} };
  readonly #init: CsvInit;
  readonly #file: GrowingFile;
  readonly #told = new ToldRows();
  #decoder = new StringDecoder("utf8");
  #records = new CsvRecords();
  #rows = new CsvRows();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #over = false;
  #stopped = false;

  constructor(init: CsvInit) {
    this.#init = init;
    this.#file = new GrowingFile({
      path: init.path,
      roots: init.roots,
      onRewritten: () => this.#rewind(),
      onBytes: (bytes) => this.#take(this.#records.push(this.#decoder.write(bytes))),
    });
  }

  async start(trainer: TrainerPhase): Promise<void> {
    if (trainer !== "new") {
      for (const { source, row, data } of this.#init.told()) {
        if (source === "csv" && row !== undefined) this.#told.remember(row, data);
      }
    }
    if (trainer !== "over") this.#later();
    await Promise.resolve();
  }

  async finish(): Promise<void> {
    clearTimeout(this.#timer);
    this.#over = true;
    await this.#looking;
    if (this.#stopped) return;
    await this.#look();
    // The last line of an ended program is as whole as it will be.
    if (!this.#stopped) {
      await this.#take(this.#records.end());
      this.#sayMissing();
    }
    await this.stop();
  }

  /** A misspelt path would be silence otherwise. */
  #sayMissing(): void {
    const { path, say, told } = this.#init;
    if (this.#file.found === "inside" || told().some(({ source }) => source === "csv")) return;
    if (this.#file.found === "outside") {
      say(
        `the CSV log ${path} lies outside of WAYBILL_OUTPUT and the working directory and was not read`,
      );
    } else {
      say(`no CSV log was found at ${path} in WAYBILL_OUTPUT or the working directory`);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  requestStop(): boolean {
    return false;
  }

  #later(): void {
    if (this.#stopped || this.#over) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.#look().finally(() => {
        this.#looking = undefined;
        this.#later();
      });
    }, this.#init.pollMs);
  }

  /** A log that cannot be read is told once and left alone: it never fails the job. */
  async #look(): Promise<void> {
    try {
      await this.#file.look();
    } catch (error) {
      this.#stopped = true;
      if (!isAbort(error)) this.#init.say(`${this.#init.path} is not read: ${messageOf(error)}`);
    }
  }

  #rewind(): void {
    this.#decoder = new StringDecoder("utf8");
    this.#records = new CsvRecords();
    this.#rows = new CsvRows();
    this.#told.rewind();
  }

  async #take(records: readonly string[][]): Promise<void> {
    const events: NewJobEvent[] = [];
    for (const record of records) {
      const data = this.#rows.read(record);
      const row = data === undefined ? undefined : this.#told.next(data);
      if (data !== undefined && row !== undefined) {
        events.push({ type: "metric", data, source: "csv", row });
      }
    }
    if (events.length > 0) await this.#init.emit(events);
  }
}

// Saves a watched job's sample images, each under its digest: a name that no trainer chooses, and that says
// whether the file is whole.
import { mkdir, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import type { ReceivedSample } from "@waybill/sdk/client";
import { WaybillError, messageOf } from "@waybill/sdk/protocol";
import type { Output } from "./render/output.ts";

export class SampleFolder {
  readonly #folder: string;
  readonly #output: Pick<Output, "note" | "record" | "complain">;
  #saving: Promise<void> = Promise.resolve();

  private constructor(folder: string, output: Pick<Output, "note" | "record" | "complain">) {
    this.#folder = folder;
    this.#output = output;
  }

  /** Makes the folder when it is missing; throws `local_io`. */
  static async open(
    folder: string,
    output: Pick<Output, "note" | "record" | "complain">,
  ): Promise<SampleFolder> {
    try {
      await mkdir(folder, { recursive: true });
    } catch (cause) {
      throw new WaybillError("local_io", `cannot save samples in ${folder}: ${messageOf(cause)}`, {
        cause,
      });
    }
    return new SampleFolder(folder, output);
  }

  /** Saves one image after those before it. */
  save(sample: ReceivedSample): void {
    this.#saving = this.#saving.then(() => this.#write(sample));
  }

  /** Resolves when everything is saved, or was complained of. */
  async settled(): Promise<void> {
    await this.#saving;
  }

  async #write({ file, series, mime, bytes, via }: ReceivedSample): Promise<void> {
    const place = path.join(this.#folder, file);
    try {
      // Whoever looks at the folder meanwhile sees whole images only.
      await writeFile(`${place}.part`, bytes);
      await rename(`${place}.part`, place);
      const name = series === undefined ? {} : { series };
      this.#output.record({ type: "saved", file, ...name, mime, bytes: bytes.length, via });
      this.#output.note(`saved    ${series ?? file} as ${place}`);
    } catch (error) {
      this.#output.complain(`sample ${file} was not saved: ${messageOf(error)}`);
    }
  }
}

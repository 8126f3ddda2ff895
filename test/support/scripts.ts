// Trainers as users write them, in the language every machine here has. Each prints JSON lines and obeys
// the environment; `node` is the pinned one.

/** Prints `epochs` metrics, writes a model file and ends. */
export const QUICK_TRAINER = `
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
const { WAYBILL_DATASET: data, WAYBILL_OUTPUT: out, WAYBILL_CONFIG: config } = process.env;
const { epochs = 3 } = JSON.parse(readFileSync(config, "utf8"));
console.log("files:", readdirSync(data).sort().join(","));
for (let epoch = 1; epoch <= epochs; epoch++) console.log(JSON.stringify({ epoch, epochs, loss: 1 / epoch, note: "kept as it is" }));
mkdirSync(out, { recursive: true });
writeFileSync(path.join(out, "weights.bin"), Buffer.alloc(100_000, 7));
writeFileSync(path.join(out, "model.json"), JSON.stringify({ epochs }));
console.log(JSON.stringify({ type: "result", loss: 1 / epochs }));
`;

/** Prints a metric every 20 ms until it gets SIGTERM; writes its model as it goes. */
export const ENDLESS_TRAINER = `
import { writeFileSync } from "node:fs";
import path from "node:path";
let step = 0;
setInterval(() => {
  step += 1;
  console.log(JSON.stringify({ step, loss: 1 / step }));
  writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "weights.bin"), String(step));
}, 20);
process.on("SIGTERM", () => process.exit(0));
`;

/** Prints a metric every 20 ms until the file that its configuration names exists, then ends. */
export const HELD_TRAINER = `
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
const { release } = JSON.parse(readFileSync(process.env.WAYBILL_CONFIG, "utf8"));
let step = 0;
const timer = setInterval(() => {
  step += 1;
  console.log(JSON.stringify({ step }));
  if (!existsSync(release)) return;
  clearInterval(timer);
  writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "weights.bin"), Buffer.alloc(1_000_000, 3));
}, 20);
`;

/** Fails. */
export const FAILING_TRAINER = `
console.error("CUDA is out of memory");
process.exit(3);
`;

/** Says that it is there, waits silently for the file that its configuration names, writes a model that equals all others and ends. */
export const WAITING_TRAINER = `
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
const { release } = JSON.parse(readFileSync(process.env.WAYBILL_CONFIG, "utf8"));
console.log(JSON.stringify({ waiting: 1 }));
const timer = setInterval(() => {
  if (!existsSync(release)) return;
  clearInterval(timer);
  writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "weights.bin"), Buffer.alloc(10_000, 9));
}, 50);
`;

/** Leaves a link out of its output behind, beside its model, and reports a loss that is not a number. */
export const UNTIDY_TRAINER = `
import { symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
const out = process.env.WAYBILL_OUTPUT;
writeFileSync(path.join(out, "weights.bin"), "w");
symlinkSync("/etc/hostname", path.join(out, "stray.png"));
console.log('{"loss": NaN}');
`;

/** Says at once when it was started and what its data set's file `big.bin` hashes to, and ends. */
export const ARRIVAL_TRAINER = `
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
const started = Date.now();
const file = readFileSync(path.join(process.env.WAYBILL_DATASET, "big.bin"));
console.log("started", started, createHash("sha256").update(file).digest("hex"));
writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "weights.bin"), "weights");
`;

/**
 * Counts steps from its checkpoint on and writes one every 25, and when it is asked; takes new values; ends when the file its
 * configuration names exists.
 */
export const CHECKPOINT_TRAINER = `
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
const { WAYBILL_CONFIG, WAYBILL_OUTPUT, WAYBILL_RESUME } = process.env;
const { release } = JSON.parse(readFileSync(WAYBILL_CONFIG, "utf8"));
const say = (value) => console.log(JSON.stringify(value));
let step = 0;
if (WAYBILL_RESUME !== undefined) {
  step = JSON.parse(readFileSync(path.join(WAYBILL_RESUME, "state.json"), "utf8")).step;
  console.log("resumed at", step);
}
const save = (more) => {
  writeFileSync("state.tmp", JSON.stringify({ step }));
  renameSync("state.tmp", "state.json");
  say({ type: "checkpoint", path: "state.json", step, ...more });
};
createInterface({ input: process.stdin }).on("line", (line) => {
  const { type, id, values } = JSON.parse(line);
  if (type === "adjust") say({ adjusted: values, id });
  if (type === "checkpoint") save({ asked: true });
});
setInterval(() => {
  step += 1;
  say({ step });
  if (step % 25 === 0) save();
  if (!existsSync(release)) return;
  writeFileSync(path.join(WAYBILL_OUTPUT, "weights.bin"), Buffer.alloc(1000, 3));
  process.exit(0);
}, 10);
`;

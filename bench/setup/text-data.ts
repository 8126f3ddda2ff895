// A dataset as text: measurements as CSV and events as JSON lines, from a seeded generator, so that every run
// has the same bytes.
import { mkdir, open } from "node:fs/promises";
import path from "node:path";

/** Mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

type Row = (index: number, random: () => number) => string;

const SPECIES = ["setosa", "versicolor", "virginica", "unknown"];

const csvRow: Row = (index, random) => {
  const time = new Date(1_700_000_000_000 + index * 250).toISOString();
  const values = Array.from({ length: 6 }, () => (random() * 100).toFixed(4));
  const species = SPECIES[Math.floor(random() ** 2 * SPECIES.length)] ?? "";
  return `${index},${time},plate-${index % 96},${values.join(",")},${species}\n`;
};

const jsonRow: Row = (index, random) =>
  `${JSON.stringify({
    id: `evt_${Math.floor(random() * 2 ** 48)
      .toString(16)
      .padStart(12, "0")}`,
    time: 1_700_000_000 + index,
    user: `user-${Math.floor(random() * 5000)}`,
    action: ["view", "click", "scroll", "buy"][Math.floor(random() * 4)],
    path: `/items/${Math.floor(random() ** 3 * 2000)}`,
    score: Number(random().toFixed(6)),
    ok: random() > 0.02,
  })}\n`;

/** Half of the bytes as CSV, half as JSON lines, in files of at most 64 MiB; the bytes written. */
export async function writeTextDataset(folder: string, bytes: number): Promise<number> {
  await mkdir(folder, { recursive: true });
  let total = 0;
  for (const [name, head, row] of [
    ["measurements.csv", "index,time,plate,a,b,c,d,e,f,species\n", csvRow],
    ["events.jsonl", "", jsonRow],
  ] as const) {
    const random = generator(7);
    const perFile = Math.min(bytes / 2, 64 * 1024 * 1024);
    for (let file = 0, index = 0; file * perFile < bytes / 2; file++) {
      await using handle = await open(path.join(folder, `${file}-${name}`), "w");
      let written = 0;
      let held = head;
      while (written < perFile) {
        for (let i = 0; i < 5000; i++) held += row(index++, random);
        await handle.write(held);
        written += Buffer.byteLength(held);
        held = "";
      }
      total += written;
    }
  }
  return total;
}

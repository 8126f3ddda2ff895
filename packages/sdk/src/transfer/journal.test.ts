import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ArtifactId, decodeValue } from "../protocol/index.ts";
import { Journal } from "./journal.ts";

const artifact = decodeValue(ArtifactId, "a".repeat(64), "id");
const other = decodeValue(ArtifactId, "b".repeat(64), "id");
let path: string;

beforeEach(() => {
  path = join(mkdtempSync(join(tmpdir(), "waybill-journal-")), "journal");
});

afterEach(() => rmSync(join(path, ".."), { recursive: true }));

async function noted(id = artifact) {
  const { journal, noted: set } = await Journal.open(path, id);
  await journal.close();
  return set.runs();
}

describe("a journal", () => {
  it("remembers what was noted, also when notes come at once", async () => {
    const { journal } = await Journal.open(path, artifact);
    await journal.note({ first: 4, count: 2 });
    await Promise.all([0, 1, 9].map(async (first) => journal.note({ first, count: 1 })));
    await journal.close();
    expect(await noted()).toEqual([
      { first: 0, count: 2 },
      { first: 4, count: 2 },
      { first: 9, count: 1 },
    ]);
    expect(readFileSync(path, "utf8")).toMatch(/^waybill-journal 1 a{64}\n4 2\n/);
  });

  it("forgets a last line that was cut off, and goes on after it", async () => {
    const { journal } = await Journal.open(path, artifact);
    await journal.note({ first: 0, count: 1 });
    await journal.close();
    appendFileSync(path, "5 10");
    const { journal: again, noted: set } = await Journal.open(path, artifact);
    expect(set.runs()).toEqual([{ first: 0, count: 1 }]);
    await again.note({ first: 7, count: 1 });
    await again.close();
    expect(await noted()).toEqual([
      { first: 0, count: 1 },
      { first: 7, count: 1 },
    ]);
  });

  it("of another artifact, or no journal at all, is begun anew", async () => {
    const { journal } = await Journal.open(path, artifact);
    await journal.note({ first: 0, count: 1 });
    await journal.close();
    expect(await noted(other)).toEqual([]);
    writeFileSync(path, Buffer.alloc(1000));
    expect(await noted()).toEqual([]);
    writeFileSync(path, `waybill-journal 1 ${artifact}\nnonsense\n1 1\n-1 5\n`);
    expect(await noted()).toEqual([{ first: 1, count: 1 }]);
  });
});

import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { files } from "../platform/index.ts";
import { FilePlacer, type WholeFile } from "./file-placer.ts";

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "waybill-place-"));
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

function whole(name: string, bytes = 10): WholeFile {
  const from = join(dir, `${name}.part`);
  if (!existsSync(from)) writeFileSync(from, Buffer.alloc(bytes));
  return { from, bytes, place: () => renameSync(from, join(dir, name)) };
}

describe("whole files", () => {
  it("get their names together, few or many", async () => {
    for (const count of [3, 40]) {
      const placer = new FilePlacer(dir);
      const names = Array.from({ length: count }, (_, at) => `file${at}`);
      for (const name of names) await placer.addSmall(whole(name));
      expect(readdirSync(dir).every((name) => name.endsWith(".part"))).toBe(true);
      await placer.finish();
      expect(readdirSync(dir).sort()).toEqual(names.toSorted());
      for (const name of names) rmSync(join(dir, name));
    }
  });

  it("that are big are flushed and closed first, beside others", async () => {
    const placer = new FilePlacer(dir);
    const order: string[] = [];
    for (const name of ["a", "b", "c", "d", "e", "f"]) {
      const one = whole(name);
      const file = await files.open(one.from, "write");
      const watched = {
        ...file,
        sync: async () => {
          await file.sync();
          order.push(`flushed ${name}`);
        },
      };
      const place = () => {
        order.push(`placed ${name}`);
        one.place();
      };
      await placer.addOpen({ ...one, place }, watched);
    }
    await placer.finish();
    for (const name of ["a", "b", "c", "d", "e", "f"]) {
      expect(order.indexOf(`flushed ${name}`)).toBeLessThan(order.indexOf(`placed ${name}`));
    }
    expect(readdirSync(dir).sort()).toEqual(["a", "b", "c", "d", "e", "f"]);
  });

  it("whose flush fails keep no name, and the failure comes out", async () => {
    const placer = new FilePlacer(dir);
    const one = whole("a");
    const file = await files.open(one.from, "write");
    const failing = {
      ...file,
      sync: async () => {
        throw new Error("the disk is broken");
      },
    };
    await placer.addOpen(one, failing);
    await expect(placer.finish()).rejects.toThrow("the disk is broken");
    expect(readdirSync(dir)).toEqual(["a.part"]);
  });
});

import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as browser from "./files.browser.ts";
import { files } from "./files.node.ts";

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "waybill-files-"));
});

afterEach(() => {
  chmodSync(dir, 0o755);
  rmSync(dir, { recursive: true, force: true });
});

const code = (wanted: string) => expect.objectContaining({ code: wanted });

describe("files", () => {
  it("are written at offsets, sparse in between, and read back", async () => {
    const path = join(dir, "x");
    const file = await files.open(path, "write");
    await file.resize(100_000);
    await file.write(Buffer.from("end"), 99_997);
    await file.sync();
    const into = new Uint8Array(5);
    expect(await file.read(into, 99_995)).toBe(5);
    expect(Buffer.from(into).toString()).toBe("\0\0end");
    expect(await file.read(into, 99_999)).toBe(1);
    await file.close();
    expect(readFileSync(path)).toHaveLength(100_000);
  });

  it("keep their content when opened for writing again", async () => {
    writeFileSync(join(dir, "x"), "content");
    await (await files.open(join(dir, "x"), "write")).close();
    expect(files.readText(join(dir, "x"))).toBe("content");
  });

  it("take and lose the executable bit for those who may read them", () => {
    const path = join(dir, "x");
    writeFileSync(path, "", { mode: 0o640 });
    files.setExecutable(path, true);
    expect(statSync(path).mode & 0o777).toBe(0o750);
    files.setExecutable(path, false);
    expect(statSync(path).mode & 0o777).toBe(0o640);
  });

  it("say in words what went wrong", async () => {
    expect(() => files.writeSmall("/dev/full", Buffer.from("x"))).toThrow(code("storage_full"));
    const full = await files.open("/dev/full", "write");
    await expect(full.write(Buffer.from("x"), 0)).rejects.toEqual(code("storage_full"));
    await full.close();
    await expect(files.open(join(dir, "no"), "read")).rejects.toThrow("it is not there (any more)");
    writeFileSync(join(dir, "file"), "");
    expect(() => files.makeDirectory(join(dir, "file/x"))).toThrow("not a folder");
    expect(files.lookAt(join(dir, "file/x"))).toBe(undefined);
    expect(files.readText(join(dir, "no"))).toBe(undefined);
  });

  it("say that permission is missing", ({ skip }) => {
    skip(process.getuid?.() === 0, "root may do everything: run as another user");
    chmodSync(dir, 0o500);
    expect(() => files.writeSmall(join(dir, "x"), Buffer.from("x"))).toThrow("no permission");
  });

  it("make folders that are missing, and end where the system makes none", () => {
    files.makeDirectory(join(dir, "a/b/c"));
    files.makeDirectory(join(dir, "a/b/c"));
    expect(files.lookAt(join(dir, "a/b/c"))?.kind).toBe("directory");
    expect(() => files.makeDirectory("/proc/waybill/x")).toThrow(code("local_io"));
  });

  it("are flushed together where the system can", async () => {
    expect(await files.flushFileSystem(dir)).toBe(process.platform === "linux");
    expect(await files.flushFileSystem(join(dir, "no"))).toBe(false);
  });

  it("have the mode they are given", () => {
    const path = join(dir, "x");
    writeFileSync(path, "", { mode: 0o644 });
    files.setMode(path, 0o640);
    expect(files.lookAt(path)?.mode).toBe(0o640);
  });

  it("are something browsers do not have, and are told so", () => {
    expect(() => browser.files.lookAt("x")).toThrow("browsers have no file system");
  });
});

import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { Receipt } from "@waybill/sdk/receipt";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { prepareReceiptFile, writeReceipt } from "./receipt-file.ts";

describe("a receipt's file", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), "waybill-receipt-"));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  const receipt = {
    jws: { payload: "AA", signatures: [] },
    manifest: { format: 1, name: "n", layout: "plain", shardBytes: 1024, files: [] },
  } as unknown as Receipt;

  it("lies beside what it is about, and is not wanted by default", async () => {
    const about = path.join(dir, "digits");
    expect(await prepareReceiptFile(undefined, about)).toBeUndefined();
    expect(await prepareReceiptFile(true, `${about}/`)).toBe(`${about}.receipt.json`);
    expect(await readdir(dir)).toEqual([]);
  });

  it("is never part of what it is about", async () => {
    const inside = path.join(dir, "digits", "r.json");
    await expect(prepareReceiptFile(inside, path.join(dir, "digits"))).rejects.toMatchObject({
      code: "invalid_request",
    });
  });

  it("is never part of it through a link either", async () => {
    const about = path.join(dir, "digits");
    await mkdir(path.join(about, "deep"), { recursive: true });
    await symlink(path.join(about, "deep"), path.join(dir, "way-in"));
    const inside = path.join(dir, "way-in", "r.json");
    await expect(prepareReceiptFile(inside, about)).rejects.toMatchObject({
      code: "invalid_request",
    });
    await symlink(about, path.join(dir, "other-name"));
    expect(await prepareReceiptFile(true, path.join(dir, "other-name"))).toBe(
      path.join(dir, "other-name.receipt.json"),
    );
  });

  it("replaces an earlier receipt and nothing else", async () => {
    const file = path.join(dir, "r.json");
    await writeReceipt(file, receipt);
    expect(await prepareReceiptFile(file, path.join(dir, "x"))).toBe(file);
    await writeReceipt(file, receipt);
    expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ payload: "AA" });
    expect(await readdir(dir)).toEqual(["r.json"]);
    await writeFile(file, "my notes");
    await expect(prepareReceiptFile(file, path.join(dir, "x"))).rejects.toMatchObject({
      code: "conflict",
    });
  });

  it("is refused before the transfer where it cannot be written", async () => {
    await mkdir(path.join(dir, "folder"));
    for (const file of [path.join(dir, "folder"), "/proc/nowhere/r.json"]) {
      await expect(prepareReceiptFile(file, path.join(dir, "x"))).rejects.toMatchObject({
        code: "local_io",
        hint: expect.stringContaining("--receipt"),
      });
    }
  });

  it("is refused in words where the disk is read-only", async ({ skip }) => {
    const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "ro", "tmpfs", dir]);
    if (status !== 0) return skip("mounting needs root");
    try {
      const about = path.join(dir, "digits");
      await expect(prepareReceiptFile(true, about)).rejects.toMatchObject({
        code: "local_io",
        message: `cannot write the receipt ${about}.receipt.json: its disk is read-only`,
        hint: "name another file: --receipt FILE",
      });
    } finally {
      spawnSync("umount", ["-l", dir]);
    }
  });
});

import { mkdtemp, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DiskReserve } from "./disk-reserve.ts";

test("is made once, given up once, and made again", async () => {
  const directory = await mkdtemp(join(tmpdir(), "waybill-reserve-"));
  const path = join(directory, "reserve");
  const reserve = new DiskReserve(path);
  expect(reserve.release()).toBe(false);
  expect(reserve.ensure()).toBe(true);
  const { size, blocks } = await stat(path);
  expect(blocks * 512).toBeGreaterThanOrEqual(size);
  await truncate(path, 10);
  expect(reserve.ensure()).toBe(true);
  expect((await stat(path)).size).toBe(size);
  expect(reserve.release()).toBe(true);
  expect(reserve.release()).toBe(false);
  await rm(directory, { recursive: true });
});

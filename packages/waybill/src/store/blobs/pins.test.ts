import { expect, test } from "vitest";
import { BlobPins } from "./pins.ts";

test("removes blobs at once when nobody reads them", () => {
  const removed: string[] = [];
  new BlobPins((ids) => removed.push(...ids)).release(["a", "b"]);
  expect(removed).toEqual(["a", "b"]);
});

test("keeps a blob until its last reader has left", () => {
  const removed: string[] = [];
  const pins = new BlobPins((ids) => removed.push(...ids));
  const first = pins.pin(["a", "b"]);
  const second = pins.pin(["a"]);
  pins.release(["a", "b"]);
  first();
  expect(removed).toEqual(["b"]);
  second();
  expect(removed).toEqual(["b", "a"]);
});

test("counts a blob that one reader uses several times", () => {
  const removed: string[] = [];
  const pins = new BlobPins((ids) => removed.push(...ids));
  const unpin = pins.pin(["a", "a"]);
  pins.release(["a"]);
  unpin();
  expect(removed).toEqual(["a"]);
});

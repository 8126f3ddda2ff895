import {
  mkdtempSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { blake3Hex } from "../platform/index.ts";
import { RoomId, decodeValue } from "../protocol/index.ts";
import { HubDouble } from "../testing/index.ts";
import { pullArtifact, pushArtifact } from "./index.ts";

const room = decodeValue(RoomId, "lab", "room");
let base: string;
let hub: HubDouble;

beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), "waybill-push-"));
  hub = await new HubDouble(join(base, "hub")).start();
});

afterEach(async () => {
  await hub.stop();
  rmSync(base, { recursive: true, force: true });
});

/** Writes files of given content below `base/name` and gives the folder. */
function tree(name: string, files: Readonly<Record<string, Uint8Array | string>>): string {
  const root = join(base, name);
  mkdirSync(root, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

/** Every file below a folder with the digest of its content. */
function contents(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(root, { recursive: true, encoding: "utf8" })) {
    const path = join(root, entry);
    if (statSync(path).isFile()) found[entry] = blake3Hex(readFileSync(path));
  }
  return found;
}

function noise(bytes: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = seed;
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    words[at] = state;
  }
  return new Uint8Array(words.buffer, 0, bytes);
}

const MIB = 1024 * 1024;

describe("a pushed tree", () => {
  it("comes back as it was: small, big and empty files, with the executable bit", async () => {
    const root = tree("data", {
      "train.bin": noise(23 * MIB + 17),
      "a/b/labels.csv": "x,y\n1,2\n",
      "a/empty": "",
      "run.sh": "#!/bin/sh\n",
      "ünïcode – 名前.txt": "ok",
    });
    const { chmodSync } = await import("node:fs");
    chmodSync(join(root, "run.sh"), 0o755);
    const pushed = await pushArtifact(hub.client(), { room, path: root, name: "digits" });
    expect(pushed).toMatchObject({ files: 5, bytes: 23 * MIB + 17 + 8 + 10 + 2, savedBytes: 0 });
    const dir = join(base, "out");
    const pulled = await pullArtifact(hub.client(), { room, ref: "digits", dir });
    expect(pulled).toMatchObject({ artifact: pushed.artifact, bytes: pushed.bytes, files: 5 });
    expect(pulled.sources).toEqual({ s3: pushed.bytes });
    expect(contents(dir)).toEqual(contents(root));
    expect(statSync(join(dir, "run.sh")).mode & 0o100).toBe(0o100);
    expect(statSync(join(dir, "train.bin")).mode & 0o100).toBe(0);
  });

  it("of many small files is packed into one object and comes back", async () => {
    const files: Record<string, Uint8Array> = {};
    for (let at = 0; at < 3000; at++) files[`${at % 50}/${at}.png`] = noise(at % 3000, at + 1);
    const root = tree("images", files);
    await pushArtifact(hub.client(), { room, path: root, name: "images" });
    expect(new Set([...hub.store.objects.keys()].map((key) => key.split("/")[1]))).toEqual(
      new Set(["artifact.json", "pack.bin"]),
    );
    const dir = join(base, "out");
    await pullArtifact(hub.client(), { room, ref: "images", dir });
    expect(contents(dir)).toEqual(contents(root));
  });

  it("costs one call each to begin, sign and complete when it is small", async () => {
    const root = tree("model", { "weights.bin": noise(3 * MIB), "config.json": "{}" });
    await pushArtifact(hub.client(), { room, path: root, name: "model" });
    expect(hub.calls).toEqual(["beginUpload", "signParts", "completeUpload"]);
  });
});

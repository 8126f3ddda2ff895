// Two real pushes at once that share an upload session, against the hub with its own store.
import { contentFingerprint, scanTree } from "@waybill/sdk/artifact";
import { pullArtifact, pushArtifact } from "@waybill/sdk/client";
import { HubClient } from "@waybill/sdk/hub-client";
import type { RoomId } from "@waybill/sdk/protocol";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, it } from "vitest";
import { newIdentity } from "./hub.fixture.ts";
import { type Hub, createHub } from "./hub.ts";

const MIB = 1024 * 1024;
/** Trees of 10 MiB are sampled by 16 KiB at multiples of this: what lies 30,000 bytes behind one is in no sample. */
const STEP = 40 * 1024;
let base: string;
let hub: Hub;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "waybill-shared-"));
  hub = createHub({
    dataDir: join(base, "hub"),
    port: 0,
    storage: { kind: "embedded", port: 0 },
  });
});

afterEach(async () => {
  await hub.stop();
  rmSync(base, { recursive: true, force: true });
});

/** An object in parts and one that is put at once; where no sample lies, their bytes are `mark`. */
function writePair(name: string, content: Buffer, mark: number): string {
  const bytes = Buffer.from(content);
  bytes[100 * STEP + 30_000] = mark;
  bytes[235 * STEP + 30_000] = mark;
  const dir = join(base, name);
  mkdirSync(dir);
  writeFileSync(join(dir, "a.bin"), bytes.subarray(0, 9 * MIB));
  writeFileSync(join(dir, "b.bin"), bytes.subarray(9 * MIB));
  return dir;
}

it("two pushes of one fingerprint with different bytes both succeed, each under its own name", async () => {
  const { url } = await hub.start();
  const room = "lab" as RoomId;
  const { token } = await new HubClient({ url }).call("createRoom", { body: { name: room } });
  const client = new HubClient({ url, credential: { token, identity: await newIdentity() } });
  const content = randomBytes(10 * MIB);
  const names = ["one", "two"] as const;
  const paths = names.map((name, at) => writePair(name, content, at));
  const fingerprints = paths.map(async (path) => {
    const purpose = { kind: "dataset", keep: false } as const;
    return contentFingerprint(await scanTree(path), { purpose, salt: "" });
  });
  expect(await fingerprints[0]).toBe(await fingerprints[1]);
  const pushed = await Promise.all(
    names.map((name, at) =>
      pushArtifact(client, { room, path: paths[at] ?? "", name, compress: "never" }),
    ),
  );
  expect(pushed[0]?.artifact).not.toBe(pushed[1]?.artifact);
  for (const [at, name] of names.entries()) {
    const dir = join(base, `${name}-out`);
    const pulled = await pullArtifact(client, { room, ref: name, dir });
    expect(pulled.artifact).toBe(pushed[at]?.artifact);
    expect(pushed[at]?.record?.name).toBe(name);
    for (const file of ["a.bin", "b.bin"]) {
      const same = readFileSync(join(dir, file)).equals(readFileSync(join(paths[at] ?? "", file)));
      expect(same, `${name}/${file}`).toBe(true);
    }
  }
});

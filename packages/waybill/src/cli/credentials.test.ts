import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { generateIdentityKey } from "@waybill/sdk/hub-client";
import { RoomId } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  decodeWorkerKey,
  encodeWorkerKey,
  machineIdentity,
  peekToken,
  saveRoom,
  savedRooms,
} from "./credentials.ts";

const room = v.parse(RoomId, "lab");

describe("credentials", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "waybill-credentials-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("makes one key for a machine, whoever asks first, and keeps it private", async () => {
    const keys = await Promise.all(Array.from({ length: 8 }, () => machineIdentity(folder)));
    expect(new Set(keys.map((key) => key.thumbprint)).size).toBe(1);
    expect((await stat(path.join(folder, "identity.json"))).mode & 0o777).toBe(0o600);
  });

  it("keeps a worker's token beside a person's for one room, and replaces older ones", async () => {
    const base = { hub: "http://h", room };
    await saveRoom(folder, { ...base, role: "owner", token: "o" });
    await saveRoom(folder, { ...base, role: "worker", token: "w1" });
    await saveRoom(folder, { ...base, role: "worker", token: "w2" });
    expect((await savedRooms(folder)).map((one) => one.token)).toEqual(["o", "w2"]);
    expect((await stat(path.join(folder, "credentials.json"))).mode & 0o777).toBe(0o600);
  });

  it("loses no token when many commands save at once", async () => {
    const rooms = Array.from({ length: 12 }, (_, i) => v.parse(RoomId, `room-${i}`));
    await Promise.all(
      rooms.map((one) =>
        saveRoom(folder, { hub: "http://h", room: one, role: "owner", token: one }),
      ),
    );
    expect((await savedRooms(folder)).map((one) => one.room).sort()).toEqual([...rooms].sort());
  });

  it("says which file is damaged", async () => {
    await writeFile(path.join(folder, "credentials.json"), "{");
    await expect(savedRooms(folder)).rejects.toThrow("credentials.json");
    expect(await readFile(path.join(folder, "credentials.json"), "utf8")).toBe("{");
  });

  it("carries a worker's key and token in one word", async () => {
    const key = await generateIdentityKey();
    const read = await decodeWorkerKey(encodeWorkerKey(key, "a.b.c"));
    expect(read.token).toBe("a.b.c");
    expect(read.identity.publicKey).toBe(key.x);
    await expect(decodeWorkerKey("wbk_nonsense")).rejects.toMatchObject({ code: "unauthorized" });
  });

  it("reads a token's room and refuses what is no token", () => {
    const payload = Buffer.from(
      JSON.stringify({ room: "lab", role: "worker", cnf: { jkt: "x" } }),
    ).toString("base64url");
    expect(peekToken(`h.${payload}.s`)).toEqual({ room: "lab", role: "worker", bound: true });
    expect(() => peekToken("rubbish")).toThrow("not a Waybill token");
  });
});

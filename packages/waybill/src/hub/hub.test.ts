// The hub with its real parts: sockets, embedded store, files.
import { artifactId, manifestPieces } from "@waybill/sdk/artifact";
import { HubClient, createSession } from "@waybill/sdk/hub-client";
import {
  type ArtifactId,
  type IceServer,
  MANIFEST_KEY,
  type RoomId,
  signalingPath,
} from "@waybill/sdk/protocol";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { S3Client, GetObjectCommand } from "@aws-sdk/client-s3";
import { afterEach, describe, expect, it } from "vitest";
import { newIdentity } from "./hub.fixture.ts";
import { type Hub, type HubInit, createHub } from "./hub.ts";
import {
  PART_BYTES,
  AT_ONCE_BYTES,
  UNIT_BYTES,
  crcOf,
  manifestOf,
  patterned,
  piecesOf,
  planOf,
  type Tree,
} from "./uploads/push.fixture.ts";

const cleaners: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const clean of cleaners.splice(0).toReversed()) await clean();
});

async function newDataDir(): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), "waybill-hub-"));
  cleaners.push(() => rm(dataDir, { recursive: true, force: true }));
  return dataDir;
}

function hubOn(dataDir: string, init: Partial<HubInit> = {}): Hub {
  const hub = createHub({ dataDir, port: 0, storage: { kind: "embedded", port: 0 }, ...init });
  cleaners.push(() => hub.stop());
  return hub;
}

async function ownerOf(url: string, name: string, token?: string) {
  const anyone = new HubClient({ url, retryForMs: 0 });
  const created =
    token === undefined ? await anyone.call("createRoom", { body: { name } }) : { token };
  const credential = { token: created.token, identity: await newIdentity() };
  const room = name as RoomId;
  return { room, credential, client: new HubClient({ url, retryForMs: 0, credential }) };
}

async function pushOverHttp(client: HubClient, room: RoomId, tree: Tree): Promise<ArtifactId> {
  const manifest = manifestOf(tree);
  const { status } = await client.call("beginUpload", { params: { room }, body: planOf(tree) });
  const params = { room, upload: status.upload };
  const bodies = new Map<string, Uint8Array>([
    ...tree,
    [MANIFEST_KEY, Buffer.concat([...manifestPieces(manifest)])],
  ]);
  const objects: { key: string; parts: { part: number; crc32: string }[] }[] = [];
  for (const [key, body] of bodies) {
    const pieces = piecesOf(key, body, status, PART_BYTES);
    const parts = pieces.map(({ part, size, crc32 }) => ({ key, part, size, crc32 }));
    const signed = await client.call("signParts", { params, body: { parts } });
    for (const [at, { url, headers }] of signed.parts.entries()) {
      const answer = await fetch(url, {
        method: "PUT",
        headers,
        body: new Uint8Array(pieces[at]?.body ?? []),
      });
      expect(answer.status).toBe(200);
    }
    objects.push({ key, parts: parts.map(({ part, crc32 }) => ({ part, crc32 })) });
  }
  const artifact = artifactId(manifest);
  await client.call("completeUpload", { params, body: { artifact, objects } });
  return artifact;
}

describe("a room's peers", () => {
  it("are told of servers, policy and relayed bytes: in the welcome, and when they change", async () => {
    const hub = hubOn(await newDataDir(), {
      iceServers: [{ urls: ["turn:turn.lab"] }],
      turn: { secret: "shared", ttlMs: 600_000 },
      relayBudgetBytes: 1000,
    });
    const { url } = await hub.start();
    const { client, room, credential } = await ownerOf(url, "lab");
    const session = createSession({ hub: { url, credential }, room, name: "a", instance: "a1" });
    cleaners.push(() => session.stop());
    const policies: string[] = [];
    const exhausted = new Promise((resolve) => session.on("relay.budget", resolve));
    session.on("ice.policy", ({ policy }) => policies.push(policy));
    session.start();
    const welcome = await session.waitUntilOpen();
    expect(welcome).toMatchObject({
      iceServers: [{ username: expect.stringMatching(`:lab/${welcome.peerId}$`) }],
      iceExpiresAt: expect.any(String),
      icePolicy: "all",
      relayBudget: { usedBytes: 0, budgetBytes: 1000, exhausted: false },
    });
    await client.call("setRoomPolicy", { params: { room }, body: { icePolicy: "relay" } });
    const usage = { sentBytes: 1500, receivedBytes: 10 };
    const connection = { connection: "c1", peer: welcome.peerId };
    session.send({ type: "relay.usage", ...connection, ...usage });
    const budget = { usedBytes: 1500, budgetBytes: 1000, exhausted: true };
    expect(await exhausted).toMatchObject({ budget });
    expect(policies).toEqual(["relay"]);
    expect(await client.call("relayUsage", { params: { room } })).toMatchObject({
      budget,
      peers: [{ peerId: welcome.peerId, name: "a", ...usage }],
    });
  });
});

describe("a hub", () => {
  it("stores what is pushed where any S3 tool finds it, and keeps it over a restart", async () => {
    const dataDir = await newDataDir();
    const first = hubOn(dataDir);
    const { url, s3 } = await first.start();
    const owner = await ownerOf(url, "lab");
    const tree: Tree = new Map([
      ["big.bin", patterned(AT_ONCE_BYTES + 5)],
      ["sub/small.txt", new TextEncoder().encode("small")],
    ]);
    const artifact = await pushOverHttp(owner.client, owner.room, tree);
    expect((await stat(s3.credentialsFile ?? "")).mode & 0o777).toBe(0o600);
    expect((await stat(join(dataDir, "hub-secret"))).mode & 0o777).toBe(0o600);
    await first.stop();

    const second = hubOn(dataDir);
    const again = await second.start();
    const known = await ownerOf(again.url, "lab", owner.credential.token);
    const record = await known.client.call("resolveArtifact", {
      params: { room: known.room, ref: "tree" },
    });
    expect(record.artifact).toBe(artifact);
    const { reads } = await known.client.call("signReads", {
      params: { room: known.room, artifact: record.artifact },
      body: { keys: ["big.bin"] },
    });
    const read = await fetch(reads[0]?.url ?? "", { headers: { range: "bytes=4096-4099" } });
    expect([read.status, new Uint8Array(await read.arrayBuffer())]).toEqual([
      206,
      tree.get("big.bin")?.slice(4096, 4100),
    ]);
    const credentials = await readFile(again.s3.credentialsFile ?? "", "utf8");
    const tool = new S3Client({
      endpoint: again.s3.endpoint,
      region: again.s3.region,
      forcePathStyle: true,
      credentials: {
        accessKeyId: /key_id = (\S+)/.exec(credentials)?.[1] ?? "",
        secretAccessKey: /access_key = (\S+)/.exec(credentials)?.[1] ?? "",
      },
    });
    const key = `${record.s3Path.slice(record.s3Path.indexOf("/") + 1)}sub/small.txt`;
    const object = await tool.send(new GetObjectCommand({ Bucket: s3.uploadsBucket, Key: key }));
    expect(await object.Body?.transformToString()).toBe("small");
    tool.destroy();
  });

  it("has its store, in a thread of its own, copy what the room holds at another offset", async () => {
    const storage = { kind: "embedded", port: 0, ownThread: true } as const;
    const { url } = await hubOn(await newDataDir(), { storage }).start();
    const { client, room } = await ownerOf(url, "lab");
    const base = patterned(16 * UNIT_BYTES);
    const artifact = await pushOverHttp(client, room, new Map([["big.bin", base]]));
    const body = Buffer.concat([patterned(UNIT_BYTES, 9), base]);
    const plan = planOf(new Map([["other.bin", body]]));
    const { status } = await client.call("beginUpload", { params: { room }, body: plan });
    const params = { room, upload: status.upload };
    const size = 8 * UNIT_BYTES;
    const part = 7;
    const start = (part - 1) * UNIT_BYTES;
    const sum = crcOf(body.subarray(start, start + size));
    const from = { artifact, key: "big.bin", start: start - UNIT_BYTES };
    const copy = { key: "other.bin", part, size, crc32: sum, from };
    const { copied } = await client.call("copyParts", { params, body: { copies: [copy] } });
    expect(copied).toEqual([{ key: "other.bin", part, copied: true }]);
    const { objects } = await client.call("showUpload", { params });
    expect(objects[0]?.parts).toEqual([{ part, size, crc32: sum }]);
  });

  it("refuses a PUT of another body than was signed for", async () => {
    const { url } = await hubOn(await newDataDir()).start();
    const { client, room } = await ownerOf(url, "lab");
    const tree: Tree = new Map([["a", new TextEncoder().encode("right")]]);
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(tree) });
    const part = { key: "a", part: 0, size: 5, crc32: crcOf(new TextEncoder().encode("right")) };
    const signed = await client.call("signParts", {
      params: { room, upload: status.upload },
      body: { parts: [part] },
    });
    const { url: target = "", headers = {} } = signed.parts[0] ?? {};
    const put = async (body: string, given: Record<string, string> = headers) => {
      const answer = await fetch(target, { method: "PUT", headers: given, body });
      await answer.text();
      return answer.status;
    };
    expect(await put("wrong")).toBe(400);
    expect(await put("right and more")).toBe(403);
    const wrongSum = { "x-amz-checksum-crc32": crcOf(new TextEncoder().encode("wrong")) };
    expect(await put("wrong", wrongSum)).toBe(403);
    expect(await put("right")).toBe(200);
  });

  it("says so when its data directory or its port are in use", async () => {
    const dataDir = await newDataDir();
    const { url } = await hubOn(dataDir).start();
    await expect(hubOn(dataDir).start()).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining(dataDir),
    });
    const port = Number(new URL(url).port);
    const other = await newDataDir();
    await expect(hubOn(other, { port }).start()).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining(String(port)),
    });
    // What had been started before the port was refused is stopped again.
    expect(await hubOn(other).start()).toMatchObject({ s3: { region: "us-east-1" } });
  });

  it("carries signaling on the same port and closes it when it stops", async () => {
    const iceServers: IceServer[] = [{ urls: ["stun:127.0.0.1:3478"] }];
    const hub = hubOn(await newDataDir(), { iceServers });
    const { url } = await hub.start();
    const { client, room } = await ownerOf(url, "lab");
    const session = createSession({ hub: client, room, name: "laptop", instance: "a1" });
    cleaners.push(() => session.stop());
    const welcome = new Promise((resolve) => {
      session.on("welcome", resolve);
    });
    session.start();
    expect(await welcome).toMatchObject({ role: "owner", iceServers });
    const shown = await client.call("showRoom", { params: { room } });
    expect(shown.peers).toMatchObject([{ name: "laptop", role: "owner" }]);
    await session.stop();
    await hub.stop();
    await expect(client.call("showRoom", { params: { room } })).rejects.toMatchObject({
      code: "unreachable",
    });
  });

  it("answers 404 to upgrades of other paths", async () => {
    const { url } = await hubOn(await newDataDir()).start();
    for (const path of [
      "/v1/rooms/Not A Room/signal",
      "/v1/other",
      `${signalingPath("lab" as RoomId)}/x`,
    ]) {
      expect(await upgradeStatus(url, path)).toContain("404");
    }
  });

  it("does not start without its store, and says which", async () => {
    const gone = hubOn(await newDataDir());
    const { s3 } = await gone.start();
    await gone.stop();
    const storage = {
      kind: "external",
      endpoint: s3.endpoint,
      region: "us-east-1",
      credentials: { accessKeyId: "id", secretAccessKey: "secret" },
    } as const;
    await expect(hubOn(await newDataDir(), { storage }).start()).rejects.toMatchObject({
      code: "storage_failed",
      message: expect.stringContaining("waybill-uploads"),
    });
  });

  it("shares a bucket and a secret with another hub", async () => {
    const { s3 } = await hubOn(await newDataDir()).start();
    const credentials = await readFile(s3.credentialsFile ?? "", "utf8");
    const storage = {
      kind: "external",
      endpoint: s3.endpoint,
      region: s3.region,
      credentials: {
        accessKeyId: /key_id = (\S+)/.exec(credentials)?.[1] ?? "",
        secretAccessKey: /access_key = (\S+)/.exec(credentials)?.[1] ?? "",
      },
    } as const;
    const secret = "one secret for several hubs, long enough";
    const one = await hubOn(await newDataDir(), { storage, secret }).start();
    const two = await hubOn(await newDataDir(), { storage, secret }).start();
    const owner = await ownerOf(one.url, "lab");
    const there = await ownerOf(two.url, "lab", owner.credential.token);
    const shown = await there.client.call("showRoom", { params: { room: there.room } });
    expect(shown).toMatchObject({ room: "lab", role: "owner" });
  });
});

/** Status line of the answer to an upgrade request. */
async function upgradeStatus(url: string, path: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    socket.on("error", reject);
    socket.on("data", (data) => {
      resolve(data.toString().split("\r\n")[0] ?? "");
      socket.destroy();
    });
    socket.write(
      `GET ${encodeURI(path)} HTTP/1.1\r\nhost: hub\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`,
    );
  });
}

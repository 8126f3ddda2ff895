import { artifactId } from "@waybill/sdk/artifact";
import type { HubClient, Identity } from "@waybill/sdk/hub-client";
import {
  type ArtifactManifest,
  type ArtifactRecord,
  type ReceiptPayload,
  type RoomId,
  type WaybillError,
} from "@waybill/sdk/protocol";
import {
  type TransferFacts,
  checkSignature,
  encodePayload,
  issueReceipt,
  judgeReceipt,
  receiptPieces,
  signAsClient,
} from "@waybill/sdk/receipt";
import { beforeEach, describe, expect, it } from "vitest";
import { ArtifactRecords } from "../artifacts/artifact-records.ts";
import { Documents } from "../bucket/documents.ts";
import { type Member, TestHub, newIdentity } from "../hub.fixture.ts";

const NOW = Date.UTC(2026, 5, 1);
const manifest: ArtifactManifest = {
  format: 1,
  name: "digits" as ArtifactManifest["name"],
  layout: "plain",
  shardBytes: 1024,
  files: [{ path: "a", size: 3, shards: ["ab".repeat(32) as never] }],
};
const artifact = artifactId(manifest);

describe("receipts", () => {
  let hub: TestHub;
  let owner: Member & { room: RoomId };
  let member: Member;
  beforeEach(async () => {
    hub = new TestHub({ clock: () => NOW });
    owner = await hub.createRoom("lab");
    member = await hub.join(owner.client, owner.room, "viewer");
    await hold("digits");
  });

  /** Enters the artifact in the room's records, as a completed push does. */
  async function hold(name: string): Promise<void> {
    const documents = new Documents({ bucket: hub.storage.rooms.bucket });
    const record: ArtifactRecord = {
      artifact,
      name: name as ArtifactRecord["name"],
      kind: "dataset",
      layout: "plain",
      files: 1,
      bytes: 3,
      manifestBytes: 200,
      s3Path: "rooms/lab/datasets/x/",
      createdAt: new Date(NOW).toISOString(),
    };
    await new ArtifactRecords({ documents, clock: () => NOW }).enter(owner.room, record);
  }

  const facts: TransferFacts = {
    direction: "pull",
    hub: "http://hub.test",
    room: "lab",
    artifact,
    name: "digits",
    startedMs: NOW - 5000,
    endedMs: NOW - 1000,
    receivedBytes: 3,
    sources: { s3: 3, cache: 0 },
  };
  const issue = (by: Member, more: Partial<TransferFacts> = {}) =>
    issueReceipt({ ...facts, ...more }, manifest, { identity: by.identity, hub: by.client });

  it("are countersigned with a key that the hub publishes", async () => {
    const { unsigned, ...receipt } = await issue(member);
    expect(unsigned).toBeUndefined();
    const text = Buffer.concat([...receiptPieces(receipt)]).toString();
    const { faults, signers } = await judgeReceipt(text);
    expect(faults).toEqual([]);
    const { keys } = await hub.anyone.call("receiptKeys", {});
    expect(keys).toHaveLength(1);
    expect(signers[1]).toMatchObject({
      by: "hub",
      kid: keys[0]?.kid,
      jwk: { x: keys[0]?.x },
      role: "viewer",
      sub: member.identity.thumbprint,
      iat: NOW / 1000,
    });
  });

  it("of an owner say so", async () => {
    const { jws } = await issue(owner);
    const [, second] = jws.signatures;
    if (second === undefined) throw new Error("the hub did not sign");
    const { header } = await checkSignature(jws.payload, second);
    expect(header).toMatchObject({ role: "owner", sub: "owner" });
  });

  it("are refused with other numbers, under a name the artifact does not have, and for what is not held", async () => {
    expect((await issue(member, { name: "letters" })).unsigned).toContain("letters");
    const other: ArtifactManifest = { ...manifest, files: [] };
    const options = { identity: member.identity, hub: member.client };
    const short = await issueReceipt(facts, other, options);
    expect(short.unsigned).toContain("1 files and 3 bytes here, not 0 and 0");
    const missing = await issue(member, { artifact: "f".repeat(64) });
    expect(missing.unsigned).toContain("holds no artifact");
  });

  it("are signed under every name the artifact goes by", async () => {
    await hold("numbers");
    for (const name of ["digits", "numbers"]) {
      expect((await issue(member, { name })).unsigned, name).toBeUndefined();
    }
  });

  it("are refused from another key than the caller's, the owner's too", async () => {
    const identity = await newIdentity();
    for (const { client } of [member, owner]) {
      const { unsigned } = await issueReceipt(facts, manifest, { identity, hub: client });
      expect(unsigned).toContain("another key");
    }
  });

  it("are refused for another room, from the future and with an altered payload", async () => {
    await hub.createRoom("other");
    const { payload } = await issue(member);
    const later = new Date(NOW + 16 * 60_000).toISOString();
    const cases: [Partial<ReceiptPayload>, WaybillError["code"]][] = [
      [{ room: "other" as RoomId }, "invalid_request"],
      [{ endedAt: later }, "invalid_request"],
      [{ startedAt: later }, "invalid_request"],
    ];
    for (const [change, code] of cases) {
      const encoded = encodePayload({ ...payload, ...change });
      await expect(ask(member.client, member.identity, encoded)).rejects.toMatchObject({ code });
    }
    const signatures = [await signAsClient(encodePayload(payload), member.identity)];
    const body = { payload: encodePayload({ ...payload, sentBytes: 1 }), signatures };
    await expect(
      member.client.call("signReceipt", { params: { room: owner.room }, body }),
    ).rejects.toMatchObject({ code: "forbidden" });
  });

  const ask = async (client: HubClient, identity: Identity, payload: string) =>
    client.call("signReceipt", {
      params: { room: owner.room },
      body: { payload, signatures: [await signAsClient(payload, identity)] },
    });

  it("are signed by hubs of one bucket and secret with one key, across restarts", async () => {
    await issue(member);
    const second = new TestHub({ clock: () => NOW, storage: hub.storage });
    const there = await second.member(member.token, member.identity);
    expect((await issue(there)).unsigned).toBeUndefined();
    expect((await second.anyone.call("receiptKeys", {})).keys).toHaveLength(1);
  });
});

// docs/protocol/arriving.md §2: parts travel as segments where that helps, and as parts where it does not.
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import {
  ArtifactId,
  type ArtifactRecord,
  type CopiedPart,
  MANIFEST_KEY,
  type PartToSign,
  RoomId,
  type RouteName,
  type SegmentToTake,
  type SignedPart,
  UploadPlan,
  UploadStatus,
  WaybillError,
} from "../../protocol/index.ts";
import type { Permits } from "../../transfer/index.ts";
import type { HubSink } from "../hub-sink.ts";
import type { HubCalls } from "../push.ts";
import { SegmentedSink } from "./segmented-sink.ts";

const room = v.parse(RoomId, "lab");
const artifact = v.parse(ArtifactId, "a".repeat(64));
const MIB = 1024 * 1024;
const { signal } = new AbortController();
const options = { signal };

const status = v.parse(UploadStatus, {
  upload: `u_${"0".repeat(24)}`,
  state: "open",
  name: "tree",
  bytes: 30 * MIB,
  layout: "plain",
  shardBytes: MIB,
  unitBytes: MIB,
  partRule: "any",
  createdAt: "2026-03-01T00:00:00Z",
  objects: [
    { key: "big.bin", size: 20 * MIB, done: false, parts: [] },
    { key: "text.csv.zst", size: 10 * MIB, encoding: "zstd", done: false, parts: [] },
  ],
});
const plan = v.parse(UploadPlan, {
  fingerprint: "f".repeat(64),
  name: "tree",
  purpose: { kind: "dataset", keep: false },
  layout: "plain",
  shardBytes: MIB,
  unitBytes: MIB,
  bytes: 30 * MIB,
  objects: status.objects.map(({ key, size, encoding }) => ({ key, size, encoding })),
});

function part(key: string, number: number): PartToSign {
  return v.parse(v.any(), { key, part: number, size: 5, crc32: "AAAAAA==" }) as PartToSign;
}

type Answer = (segments: readonly SegmentToTake[]) => Promise<CopiedPart[]>;
const allTaken: Answer = async (segments) =>
  segments.map(({ key, part: number }) => ({ key, part: number, copied: true }));

/** A sink over a hub that signs everything, and what it was asked. */
function setup(answer: Answer = allTaken, announced = true) {
  const asked: { name: string; keys: string[] }[] = [];
  const puts: string[] = [];
  const refusals: string[] = [];
  const permitsFor = (parts: readonly PartToSign[], where: string): Permits => ({
    parts: parts.map(({ key, part: number, crc32 }): SignedPart => ({
      key,
      part: number,
      url: `${where}/${number}/${key}`,
      headers: { "x-amz-checksum-crc32": crc32 },
    })),
    validForMs: 1000,
  });
  const names = (parts: readonly { key: string; part: number }[]) =>
    parts.map(({ key, part: number }) => `${number}/${key}`);
  const call = async (
    name: RouteName,
    { body }: { body: { parts: PartToSign[]; segments: SegmentToTake[] } },
  ): Promise<unknown> => {
    asked.push({ name, keys: names(name === "takeSegments" ? body.segments : body.parts) });
    return name === "takeSegments"
      ? { copied: await answer(body.segments) }
      : permitsFor(body.parts, "segment");
  };
  const record = { artifact } as ArtifactRecord;
  const inner: Partial<HubSink> = {
    id: "room lab",
    refused: false,
    begin: async () => status,
    authorise: async (parts) => permitsFor(parts, "part"),
    put: async ({ url }) => {
      puts.push(url);
    },
    complete: async () => record,
  };
  const sink = new SegmentedSink({
    inner: inner as HubSink,
    hub: { call: call as HubCalls["call"] },
    room,
    retryForMs: 0,
    announce: async () => ({ segments: announced, wasHeld: false }),
    onRefused: (reason) => refusals.push(reason),
  });
  const send = async (...parts: PartToSign[]) => {
    const permits = await sink.authorise(parts, options);
    for (const permit of permits.parts) {
      await sink.put(permit, new Uint8Array(5), { ...options, onSent: () => undefined });
    }
  };
  return { sink, asked, puts, refusals, send, record };
}

describe("a segmented sink", () => {
  it("puts parts as segments, and objects put at once and the manifest as ever", async () => {
    const { sink, send, puts, record } = setup();
    await sink.begin(plan, options);
    await send(
      part("big.bin", 1),
      part("note.txt", 0),
      part("text.csv.zst", 1),
      part(MANIFEST_KEY, 1),
    );
    expect(puts.toSorted()).toEqual([
      `part/0/note.txt`,
      `part/1/${MANIFEST_KEY}`,
      `segment/1/big.bin`,
      `segment/1/text.csv.zst`,
    ]);
    expect(await sink.complete(artifact, [], options)).toBe(record);
  });

  it("has every segment taken before it completes, in batches while others travel", async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const { sink, send, asked } = setup(async (segments) => {
      await held;
      return allTaken(segments);
    });
    await sink.begin(plan, options);
    for (const number of [1, 6, 11]) await send(part("big.bin", number));
    const completing = sink.complete(artifact, [], options);
    release();
    await completing;
    const taken = asked.filter(({ name }) => name === "takeSegments").map(({ keys }) => keys);
    expect(taken).toEqual([["1/big.bin"], ["6/big.bin", "11/big.bin"]]);
  });

  it("sends parts after a segment could not be taken, and has the push begin again", async () => {
    const { sink, send, puts, refusals } = setup(async ([first]) => [
      { key: first?.key ?? "", part: 1, copied: false, reason: "no checksum" },
    ]);
    await sink.begin(plan, options);
    await send(part("big.bin", 1));
    await expect(sink.complete(artifact, [], options)).rejects.toMatchObject({ code: "conflict" });
    expect(sink.refused).toBe(true);
    expect(refusals).toEqual(["no checksum"]);
    await send(part("big.bin", 6));
    expect(puts.at(-1)).toBe("part/6/big.bin");
  });

  it("ends with what taking ends with", async () => {
    const { sink, send } = setup(async () => {
      throw new WaybillError("not_found", "no such upload");
    });
    await sink.begin(plan, options);
    await send(part("big.bin", 1));
    await expect(sink.complete(artifact, [], options)).rejects.toMatchObject({ code: "not_found" });
    await expect(send(part("big.bin", 6))).rejects.toMatchObject({ code: "not_found" });
  });

  it("puts no segments of an upload that was not announced", async () => {
    const { sink, send, puts } = setup(allTaken, false);
    await sink.begin(plan, options);
    await send(part("big.bin", 1));
    expect(puts).toEqual(["part/1/big.bin"]);
  });
});

// docs/protocol/arriving.md §8: what an announcement of a held upload says, and what becomes of its session.
import { describe, expect, it } from "vitest";
import { artifactId } from "../../artifact/index.ts";
import {
  ArtifactManifest,
  type DirectAddress,
  PeerId,
  RoomId,
  type RouteName,
  UploadStatus,
  WaybillError,
  decodeValue,
} from "../../protocol/index.ts";
import type { HubCalls } from "../push.ts";
import { Announcer, SentDirectly } from "./announcer.ts";

const room = decodeValue(RoomId, "lab", "room");
const peer = decodeValue(PeerId, `p_${"s".repeat(16)}_1`, "peer");
const manifest = decodeValue(
  ArtifactManifest,
  {
    format: 1,
    name: "tree",
    layout: "plain",
    shardBytes: 1024,
    files: [{ path: "a", size: 5, shards: ["0".repeat(64)] }],
  },
  "manifest",
);
const artifact = artifactId(manifest);
const status = decodeValue(
  UploadStatus,
  {
    upload: `u_${"0".repeat(24)}`,
    state: "open",
    name: "tree",
    bytes: 5,
    layout: "plain",
    shardBytes: 1024,
    unitBytes: 1024 * 1024,
    partRule: "any",
    createdAt: "2026-03-01T00:00:00Z",
    objects: [{ key: "a", size: 5, done: false, parts: [] }],
  },
  "status",
);
const direct: DirectAddress[] = [{ peer, offer: "ab".repeat(32) }];
const options = { signal: new AbortController().signal };

type Shown = { readonly direct: readonly DirectAddress[]; readonly objects: readonly unknown[] };

function setup({ addresses = direct, holds = true } = {}) {
  const calls: { name: RouteName; body: unknown }[] = [];
  const unannounced: unknown[] = [];
  let shown: Shown = { direct, objects: [] };
  let refusal: WaybillError | undefined;
  const call = async (name: RouteName, { body }: { body?: unknown }) => {
    calls.push({ name, body });
    if (name === "announceUpload" && refusal !== undefined) throw refusal;
    if (name === "signSegments") return { parts: [] };
    if (name === "showArriving") return { done: false, ...shown };
    return { artifact, arriving: true };
  };
  const ended = Promise.withResolvers<{ readonly upload: boolean }>();
  const asked: object[] = [];
  const announcer = new Announcer({
    hub: { call: call as unknown as HubCalls["call"] },
    room,
    tree: {
      artifact,
      manifest,
      scan: { root: "/", files: [], bytes: 5, warnings: [] },
    },
    transport: { close: () => undefined } as never,
    retryForMs: 0,
    onAnnounced: () => undefined,
    onUnannounced: (reason) => unannounced.push(reason),
    serve: async () => addresses,
    by: "alice@laptop",
    hold: {
      decide: async (tree) => {
        asked.push(tree);
        return holds && tree.serves;
      },
      end: ended.promise,
    },
  });
  return {
    announcer,
    ended,
    asked,
    unannounced,
    announced: () => calls.filter(({ name }) => name === "announceUpload").map(({ body }) => body),
    names: () => calls.map(({ name }) => name),
    show: (next: Shown) => (shown = next),
    refuse: (error: WaybillError) => (refusal = error),
  };
}

describe("an announcement", () => {
  it("says that the upload is held and by whom, and not any more before its first segment (31, 33)", async () => {
    const { announcer, ended, announced } = setup();
    const announcing = announcer.announce(status, options);
    await expect.poll(() => announced().length).toBe(1);
    expect(announced()).toEqual([
      expect.objectContaining({ artifact, direct, held: true, by: "alice@laptop" }),
    ]);
    ended.resolve({ upload: true });
    expect(await announcing).toEqual({ segments: true, wasHeld: true });
    expect(announced().at(-1)).not.toHaveProperty("held");
  });

  it("is not held without an address to read from (31)", async () => {
    const { announcer, announced, asked } = setup({ addresses: [] });
    expect(await announcer.announce(status, options)).toEqual({ segments: true, wasHeld: false });
    expect(asked).toEqual([{ bytes: 5, serves: false }]);
    expect(announced().at(-1)).not.toHaveProperty("held");
  });

  it("is held once: an upload that is begun again is sent", async () => {
    const { announcer, ended, announced } = setup();
    ended.resolve({ upload: true });
    await announcer.announce(status, options);
    expect(await announcer.announce(status, options)).toEqual({ segments: true, wasHeld: false });
    expect(announced().filter((body) => Object.hasOwn(body as object, "held")).length).toBe(1);
  });

  it("of an upload that was never needed ends with it, and its session is aborted (34)", async () => {
    const { announcer, ended, names } = setup();
    ended.resolve({ upload: false });
    await expect(announcer.announce(status, options)).rejects.toBeInstanceOf(SentDirectly);
    await announcer.abandon(status);
    expect(names().at(-1)).toBe("abortUpload");
  });

  it.each([
    ["somebody else has announced it since", { direct: [], objects: [] }],
    ["some of it was sent before", { direct, objects: [{ key: "a", segments: [] }] }],
  ])("leaves the session when %s (34)", async (_, shown) => {
    const { announcer, ended, names, show } = setup();
    ended.resolve({ upload: false });
    await expect(announcer.announce(status, options)).rejects.toBeInstanceOf(SentDirectly);
    show(shown);
    await announcer.abandon(status);
    expect(names()).not.toContain("abortUpload");
  });

  it("that the hub refuses keeps the push from nothing", async () => {
    const { announcer, unannounced, refuse } = setup();
    refuse(new WaybillError("not_found", "no such route"));
    expect(await announcer.announce(status, options)).toEqual({ segments: false, wasHeld: false });
    expect(unannounced.length).toBe(1);
  });
});

// A hub that is killed at any request to its store: the next one finishes the push, and nothing confirmed is
// sent again.
import { describe, expect, it } from "vitest";
import { artifactId } from "@waybill/sdk/artifact";
import { TestHub } from "../hub.fixture.ts";
import {
  PART_BYTES,
  manifestOf,
  patterned,
  push,
  reserve,
  type PushOptions,
  type Tree,
} from "./push.fixture.ts";

class Killed extends Error {}

const tree: Tree = new Map([
  ["big.bin", patterned(2 * PART_BYTES + 1000)],
  ["small.txt", new TextEncoder().encode("small")],
]);

const variants: [string, PushOptions][] = [
  ["a dataset", {}],
  ["a kept dataset", { purpose: { kind: "dataset", keep: true } }],
  ["a model", { purpose: { kind: "model", model: "00c0ffee", modelType: "net" } }],
];

/** Pushes until it succeeds; the hub dies before or after its `dieAt`-th request, and another takes over. */
async function pushWithDeath(options: PushOptions, dieAt: number) {
  const first = new TestHub();
  const { storage } = first;
  const { room, client, token, identity } = await first.createRoom("lab");
  if (options.purpose?.kind === "model") await reserve(client, room);
  let requests = 0;
  let dead = false;
  storage.interceptBy(() => {
    requests += 1;
    if (requests === dieAt) dead = true;
    if (dead) throw new Killed("the hub is dead");
  });
  const sent = new Map<string, number>();
  const count = (names: readonly string[]) => {
    for (const name of names) sent.set(name, (sent.get(name) ?? 0) + 1);
  };
  const tracked: string[] = [];
  const beforePut = (key: string, part: number) => {
    tracked.push(`${key}#${part}`);
  };
  let artifact: string | undefined;
  try {
    artifact = (await push(client, storage, room, tree, { ...options, beforePut })).record.artifact;
  } catch {
    storage.interceptBy(() => {});
    const second = new TestHub({ storage });
    const again = await second.member(token, identity);
    const pushed = await push(again.client, storage, room, tree, { ...options, beforePut });
    artifact = pushed.record.artifact;
  }
  count(tracked);
  storage.interceptBy(() => {});
  return { artifact, requests, sent, died: dead, storage, room, token, identity };
}

describe.each(variants)("pushing %s", (_, options) => {
  it("survives the hub's death at any of its requests, and sends nothing twice (I2)", async () => {
    let deaths = 0;
    for (let dieAt = 1; ; dieAt++) {
      const { artifact, sent, died, storage, room, token, identity } = await pushWithDeath(
        options,
        dieAt,
      );
      expect(artifact, `death at request ${dieAt}`).toBe(artifactId(manifestOf(tree)));
      expect(Math.max(...sent.values()), `death at request ${dieAt}`).toBe(1);
      // The third hub sees all of it, and no multipart upload is left but orphans the sweeper takes.
      const third = new TestHub({ storage });
      const { client } = await third.member(token, identity);
      const found = await client.call("resolveArtifact", {
        params: { room, ref: artifactId(manifestOf(tree)) },
      });
      expect(found.files).toBe(2);
      if (!died) break;
      deaths += 1;
    }
    expect(deaths).toBeGreaterThan(10);
  });
});

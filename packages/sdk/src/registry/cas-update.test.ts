import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Alias, type Registry, WaybillError } from "../protocol/index.ts";
import { type ConditionalDocument, casUpdate } from "./cas-update.ts";
import { emptyRegistry } from "./edits.ts";
import { addModel } from "./publications.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { GroupCommit } from "./group-commit.ts";

const by = { who: "ada", owner: false, when: "2026-01-02T03:04:05.678Z" };
const names = (writers: number) =>
  Array.from({ length: writers }, (_, i) => (0xa0000000 + i).toString(16));

/** A stored document whose every access waits for `turn`. */
class TurnedDocument<T> implements ConditionalDocument<T> {
  stored: { doc: T; etag: string } | undefined;
  writes = 0;
  readonly #turn: () => Promise<void>;
  constructor(turn: () => Promise<void>) {
    this.#turn = turn;
  }
  async read() {
    await this.#turn();
    return this.stored;
  }
  async write(doc: T, etag: string | undefined) {
    await this.#turn();
    if (this.stored?.etag !== etag) throw new WaybillError("precondition_failed", "changed");
    this.writes += 1;
    this.stored = { doc, etag: `e${this.writes}` };
    return this.stored;
  }
}

const publish = (store: ConditionalDocument<Registry>, id: string, sleep: () => Promise<void>) =>
  casUpdate<Registry, string>(
    store,
    (doc) => {
      const entry = entryOf(id, { alias: `alias-of-${id}` as Alias });
      const { registry, result } = addModel(doc ?? emptyRegistry(LAB), entry, by);
      return { doc: registry, result: result.id };
    },
    { sleep },
  );

describe("compare-and-swap", () => {
  it("loses none of 64 writers in any interleaving (I4)", { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const turn = () => scheduler.schedule(Promise.resolve());
        const store = new TurnedDocument<Registry>(turn);
        const ids = names(64);
        const all = Promise.all(ids.map((id) => publish(store, id, turn)));
        expect(await scheduler.waitFor(all)).toEqual(ids);
        expect(Object.keys(store.stored?.doc.models ?? {}).sort()).toEqual(ids);
        expect(Object.keys(store.stored?.doc.aliases ?? {})).toHaveLength(65);
        expect(store.stored?.doc.alias_history).toHaveLength(64);
      }),
      { numRuns: 8 },
    );
  });

  it("writes nothing when the edit changes nothing", async () => {
    const store = new TurnedDocument<Registry>(async () => {});
    await publish(store, "aaaaaaaa", async () => {});
    await publish(store, "aaaaaaaa", async () => {});
    expect(store.writes).toBe(1);
  });

  it("gives up with a conflict when it loses every race", async () => {
    const store: ConditionalDocument<number> = {
      read: async () => ({ doc: 1, etag: "e" }),
      write: async () => {
        throw new WaybillError("precondition_failed", "changed");
      },
    };
    const losing = casUpdate(store, () => ({ doc: 2, result: 2 }), {
      maxTries: 3,
      sleep: async () => {},
    });
    await expect(losing).rejects.toMatchObject({ code: "conflict" });
  });
});

describe("group commit", () => {
  const setUp = () => {
    const store = new TurnedDocument<Registry>(async () => {});
    const group = new GroupCommit<Registry>({
      initial: () => emptyRegistry(LAB),
      commit: (edit) =>
        casUpdate(store, (doc) => ({ doc: edit(doc) ?? doc, result: undefined }), {
          sleep: async () => {},
        }),
    });
    const add = (id: string, artifact?: string) =>
      group.run((doc) => {
        const over = artifact === undefined ? {} : { artifact: artifact as never };
        const edited = addModel(doc, entryOf(id, over), by);
        return { doc: edited.registry, result: edited.result.id };
      });
    return { store, add };
  };

  it("stores 64 concurrent edits in two writes", async () => {
    const { store, add } = setUp();
    const ids = names(64);
    expect(await Promise.all(ids.map((id) => add(id)))).toEqual(ids);
    expect(Object.keys(store.stored?.doc.models ?? {})).toHaveLength(64);
    expect(store.writes).toBe(2);
  });

  it("fails the one edit that fails, and no other", async () => {
    const { store, add } = setUp();
    const [first, clash, last] = await Promise.allSettled([
      add("aaaaaaaa"),
      add("aaaaaaaa", "f".repeat(64)),
      add("bbbbbbbb"),
    ]);
    expect(first.status).toBe("fulfilled");
    expect(clash).toMatchObject({ status: "rejected", reason: { code: "conflict" } });
    expect(last.status).toBe("fulfilled");
    expect(Object.keys(store.stored?.doc.models ?? {})).toHaveLength(2);
  });
});

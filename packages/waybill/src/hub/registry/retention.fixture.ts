// A room with models of a few bytes, for tests of what becomes of them.
import { artifactId } from "@waybill/sdk/artifact";
import { type JobId, type ModelId, type ModelPublication, Registry } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { TestHub } from "../hub.fixture.ts";
import { jobKey } from "../jobs/job-keys.ts";
import { MemoryStorage } from "../storage/memory-storage.ts";
import { type Tree, manifestOf, push, reserve, tinyTree } from "../uploads/push.fixture.ts";

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
export const JOB = "j_0123456789abcdef" as JobId;

type LoggedLine = { readonly message: string; readonly [field: string]: unknown };

/** A room `lab`, its owner, and as many hubs as a test wants on its bucket. */
export async function openRoom() {
  const time = { nowMs: Date.UTC(2026, 0, 1) };
  const clock = () => time.nowMs;
  const storage = new MemoryStorage({ clock });
  const logged: LoggedLine[] = [];
  const newHub = () =>
    new TestHub({
      storage,
      clock,
      log: (_, message, fields) => logged.push({ message, ...fields }),
    });
  const hub = newHub();
  const owner = await hub.createRoom("lab");
  const { room, client } = owner;
  const params = { room };

  /** Another hub's client with the owner's rights. */
  const elsewhere = async () => {
    const other = newHub();
    return { hub: other, client: (await other.member(owner.token, owner.identity)).client };
  };

  const pushModel = async (digits: string, tree: Tree = treeOf(digits)) => {
    const model = await reserve(client, room, digits);
    const purpose = { kind: "model", model, modelType: "net" } as const;
    return { model, record: (await push(client, storage, room, tree, { purpose })).record };
  };
  /** A minute passes with each, so that the newest is clear. */
  const publish = async (
    digits: string,
    over: Partial<ModelPublication> = {},
    tree: Tree = treeOf(digits),
  ): Promise<ModelId> => {
    time.nowMs += 60_000;
    const { model, record } = await pushModel(digits, tree);
    const training = { trained_by: "ada", metrics: {}, config: {} };
    const { artifact } = record;
    const body = { id: model, artifact, model_type: "net" as never, tags: [], training, ...over };
    await client.call("publishModel", { params, body });
    return model;
  };

  return {
    time,
    storage,
    logged,
    hub,
    client,
    room,
    params,
    elsewhere,
    pushModel,
    publish,
    registry: async () => v.parse(Registry, await client.call("readRegistry", { params })),
    remove: async (...models: string[]) =>
      client.call("removeModels", { params, body: { models, why: "too old" } }),
    setRules: async (body: object) => client.call("setRetention", { params, body }),
    /** Objects of a model's folder. */
    objects: (model: string) =>
      storage.rooms.bucket.keys.filter((key) => key.startsWith(`lab/models/net_${model}`)),
    /** A job's document, as a hub would have written it. */
    putJob: async (doc: { readonly state: string; readonly [field: string]: unknown }) => {
      const job = {
        job: JOB,
        room,
        spec: { command: ["true"] },
        submittedBy: "ada",
        submittedAt: new Date(time.nowMs).toISOString(),
        attempt: 1,
        seqReserved: 0,
        ...doc,
      };
      await storage.rooms.bucket.put(jobKey(room, JOB), JSON.stringify(job));
    },
    /** What a reader of the artifact gets. */
    read: async (tree: Tree): Promise<string | undefined> => {
      const artifact = artifactId(manifestOf(tree));
      const input = { params: { room, artifact }, body: { keys: ["model.bin"] } };
      const { reads } = await client.call("signReads", input);
      const bytes = storage.read(reads[0]?.url ?? "");
      return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
    },
  };
}

export type Room = Awaited<ReturnType<typeof openRoom>>;

/** The files of a model, other for each of these. */
export function treeOf(text: string): Tree {
  return tinyTree({ "model.bin": `weights of ${text}` });
}

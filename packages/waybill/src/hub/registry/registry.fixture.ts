// A room's registry over a bucket in memory that notes every operation, and hubs on it.
import type { Alias, ModelId, ModelType, Registry } from "@waybill/sdk/protocol";
import { type Edited, addModel } from "@waybill/sdk/registry";
import { Documents } from "../bucket/documents.ts";
import { type BucketOperation, MemoryBucket } from "../bucket/memory-bucket.ts";
import { LAB } from "../jobs/call.fixture.ts";
import { RegistryWriter, readRegistry } from "./room-registry.ts";

export const by = { who: "ada", owner: true, when: "2026-01-02T03:04:05.678Z" };
type Entry = Parameters<typeof addModel>[1];

export const entryOf = (id: string, over: Partial<Entry> = {}): Entry => ({
  id: id as ModelId,
  model_type: "unet" as ModelType,
  tags: [],
  artifact: id.padEnd(64, "0") as Entry["artifact"],
  storage: { s3_path: `memory/lab/models/unet_${id}/`, size_bytes: 1, files: ["model.bin"] },
  training: { trained_by: "ada", trained_at: by.when, metrics: {}, config: {} },
  availability: { in_s3: true, cached_on_workers: [] },
  ...over,
});
export const ids = (count: number) =>
  Array.from({ length: count }, (_, i) => (0xa0000000 + i).toString(16));

export function setUp(before: (operation: BucketOperation, key: string) => void = () => {}) {
  const operations: string[] = [];
  const bucket = new MemoryBucket({
    before: async (operation, key) => {
      operations.push(`${operation} ${key.replace(/-[\w]{16}\.json/, "")}`);
      before(operation, key);
      await new Promise(setImmediate);
    },
  });
  const hub = () => {
    const documents = new Documents({ bucket, sleep: async () => {} });
    const writer = new RegistryWriter(documents);
    const add = (id: string, alias?: string) =>
      writer.edit(LAB, (registry) =>
        addModel(registry, entryOf(id, alias === undefined ? {} : { alias: alias as Alias }), by),
      );
    const edit = <R>(run: (registry: Registry) => Edited<R>) => writer.edit(LAB, run);
    return { documents, add, edit, read: () => readRegistry(documents, LAB) };
  };
  return { bucket, operations, hub };
}

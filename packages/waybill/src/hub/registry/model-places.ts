// The folders below a room's models/, and what the registry says of them (docs/protocol/registry-storage.md §5).
import {
  MANIFEST_KEY,
  ModelId,
  type ModelEntry,
  type Registry,
  type RegistryReport,
  type RoomId,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Bucket } from "../bucket/bucket.ts";

/** Keys within each folder, by folder name. */
export type ModelPlaces = ReadonlyMap<string, ReadonlySet<string>>;

const modelsPrefix = (room: RoomId) => `${room}/models/`;

export async function listModelPlaces(bucket: Bucket, room: RoomId): Promise<ModelPlaces> {
  const prefix = modelsPrefix(room);
  const places = new Map<string, Set<string>>();
  for await (const { key } of bucket.list(prefix)) {
    const [folder = "", ...rest] = key.slice(prefix.length).split("/");
    const keys = places.get(folder) ?? new Set();
    places.set(folder, keys.add(rest.join("/")));
  }
  return places;
}

export type PlaceFacts = Pick<RegistryReport, "without_bytes" | "without_entry">;

/** Entries whose files are not all there, and whole models that nothing names. */
export function comparePlaces(bucket: Bucket, registry: Registry, places: ModelPlaces): PlaceFacts {
  const { room, models, tombstones } = registry;
  const folderOf = ({ storage }: ModelEntry) => {
    const prefix = `${bucket.name}/${modelsPrefix(room)}`;
    return storage.s3_path.startsWith(prefix)
      ? storage.s3_path.slice(prefix.length).replace(/\/$/, "")
      : storage.s3_path;
  };
  const isWhole = (entry: ModelEntry) => {
    const keys = places.get(folderOf(entry));
    // An object stored compressed has the plain key with `.zst` after it.
    const has = (key: string) => keys?.has(key) === true || keys?.has(`${key}.zst`) === true;
    return has(MANIFEST_KEY) && entry.storage.files.every(has);
  };
  const entries = Object.values(models);
  const buried = Object.values(tombstones).map(({ entry }) => entry);
  const named = new Set([...entries, ...buried].map(folderOf));
  return {
    without_bytes: entries.filter((entry) => !isWhole(entry)).map(({ id }) => id),
    without_entry: [...places]
      .filter(([folder, keys]) => keys.has(MANIFEST_KEY) && !named.has(folder))
      .map(([folder]) => {
        const model = modelOf(folder);
        const place = `${bucket.name}/${modelsPrefix(room)}${folder}/`;
        return { place, ...(model === undefined ? {} : { model }) };
      }),
  };
}

/** Folders are `{type}_{id}`, with the attempt's number when a worker uploaded without the hub. */
function modelOf(folder: string): ModelId | undefined {
  const id = v.safeParse(ModelId, /_([0-9a-f]+)(?:\.\d+)?$/.exec(folder)?.[1]);
  return id.success ? id.output : undefined;
}

/** The registry with `in_s3` as it is; the same object when nothing changes. */
export function withTrueAvailability(
  registry: Registry,
  { without_bytes }: Pick<PlaceFacts, "without_bytes">,
): Registry {
  const missing = new Set<string>(without_bytes);
  const changed = Object.values(registry.models)
    .filter((entry) => entry.availability.in_s3 === missing.has(entry.id))
    .map((entry): [string, ModelEntry] => {
      const availability = { ...entry.availability, in_s3: !missing.has(entry.id) };
      return [entry.id, { ...entry, availability }];
    });
  if (changed.length === 0) return registry;
  return { ...registry, models: { ...registry.models, ...Object.fromEntries(changed) } };
}

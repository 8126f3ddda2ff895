// What makes a registry document unusable, said so that an owner knows what to do (docs/protocol/registry-storage.md §4).
import { type Registry, type RoomId, WaybillError } from "../protocol/index.ts";

/** Thrown wherever a damaged registry is met: nothing is made of it, and nothing written over it. */
export function damagedRegistry(room: RoomId | string, why: string, cause?: unknown): WaybillError {
  return new WaybillError("registry_damaged", `the registry of room ${room} is damaged: ${why}`, {
    hint: `its owner makes it again with \`waybill registry rebuild --room ${room}\` (--dry-run shows what would come of it)`,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** What contradicts itself in a document that fits its schema; `undefined` when nothing does. */
export function contradictionIn(registry: Registry, room: RoomId | string): string | undefined {
  if (registry.room !== room) return `it says that it is of room ${registry.room}`;
  for (const id of Object.keys(registry.models)) {
    const said = registry.models[id]?.id;
    if (said !== id) return `the entry of model ${id} says that it is ${said}`;
  }
  for (const alias of Object.keys(registry.aliases)) {
    const id = registry.aliases[alias];
    if (id === undefined || !Object.hasOwn(registry.models, id)) {
      return `alias ${alias} points at model ${id}, which is not there`;
    }
  }
  return undefined;
}

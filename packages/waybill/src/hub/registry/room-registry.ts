// One room's registry in the bucket: reads, and edits that share conditional writes (I4).
import type { Registry, RoomId } from "@waybill/sdk/protocol";
import { type Edited, GroupCommit, emptyRegistry } from "@waybill/sdk/registry";
import type { Documents } from "../bucket/documents.ts";
import { REGISTRY_DOCUMENT, asNewWrite } from "./registry-document.ts";
import { registryKey } from "./registry-keys.ts";

export { registryKey } from "./registry-keys.ts";

/**
 * The room's registry as stored, an empty one when there is none: the store is asked whether it is what this hub knows.
 * With `maxAgeMs` memory will do. Throws `registry_damaged`, `unsupported_version`, `storage_failed`.
 */
export async function readRegistry(
  documents: Documents,
  room: RoomId,
  options: { readonly maxAgeMs?: number } = {},
): Promise<Registry> {
  const found = await documents.read(REGISTRY_DOCUMENT, registryKey(room), options);
  return found?.doc ?? emptyRegistry(room);
}

/** The registries of all rooms, for writing. */
export class RegistryWriter {
  readonly #documents: Documents;
  /** Only rooms with edits under way. */
  readonly #groups = new Map<RoomId, { readonly group: GroupCommit<Registry>; users: number }>();

  constructor(documents: Documents) {
    this.#documents = documents;
  }

  /**
   * Stores what a pure edit makes of the registry, together with others that wait; answers its result. Throws as
   * `readRegistry`, and what the edit throws.
   */
  async edit<R>(room: RoomId, edit: (registry: Registry) => Edited<R>): Promise<R> {
    const entry = this.#groups.get(room) ?? { group: this.#groupOf(room), users: 0 };
    this.#groups.set(room, entry);
    entry.users += 1;
    try {
      return await entry.group.run((registry) => {
        const edited = edit(registry);
        return { doc: edited.registry, result: edited.result };
      });
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#groups.delete(room);
    }
  }

  #groupOf(room: RoomId): GroupCommit<Registry> {
    return new GroupCommit<Registry>({
      initial: () => emptyRegistry(room),
      commit: (edit) =>
        this.#documents.update(REGISTRY_DOCUMENT, registryKey(room), (registry) => {
          const next = edit(registry);
          return next && asNewWrite(next);
        }),
    });
  }
}

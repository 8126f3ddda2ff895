// One room's registry in the bucket: reads, and edits that share conditional writes (I4).
import { Registry, type RoomId } from "@waybill/sdk/protocol";
import { type Edited, GroupCommit, emptyRegistry } from "@waybill/sdk/registry";
import type { Documents } from "../bucket/documents.ts";

export const registryKey = (room: RoomId) => `${room}/manifest.json`;

/** The room's registry as stored, an empty one when there is none. With `maxAgeMs` memory will do. */
export async function readRegistry(
  documents: Documents,
  room: RoomId,
  options: { readonly maxAgeMs?: number } = {},
): Promise<Registry> {
  return (await documents.read(Registry, registryKey(room), options))?.doc ?? emptyRegistry(room);
}

/** The registries of all rooms, for writing. */
export class RegistryWriter {
  readonly #documents: Documents;
  /** Only rooms with edits under way. */
  readonly #groups = new Map<RoomId, { readonly group: GroupCommit<Registry>; users: number }>();

  constructor(documents: Documents) {
    this.#documents = documents;
  }

  /** Stores what a pure edit makes of the registry, together with others that wait; answers its result. */
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
      commit: (edit) => this.#documents.update(Registry, registryKey(room), edit),
    });
  }
}

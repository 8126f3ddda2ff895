// Adds to models that a hub answers which workers have them now. That is presence: it is stored nowhere
// (docs/protocol/data-server.md §2).
import type { ArtifactId, ModelEntry, RoomId } from "@waybill/sdk/protocol";
import type { Handlers } from "../http/handler.ts";
import type { ConnectedPeer } from "../signaling/router.ts";

type Cached = ModelEntry["availability"]["cached_on_workers"];
type ModelReads = Handlers<"readRegistry" | "showModel" | "listModels" | "modelDetails">;

/** The handlers, with who has what added to their answers. */
export function withAvailability<H extends ModelReads>(
  handlers: H,
  peers: (room: RoomId) => readonly ConnectedPeer[],
): H {
  return {
    ...handlers,
    readRegistry: async (call) => {
      const registry = await handlers.readRegistry(call);
      const add = adder(peers(call.params.room));
      const models = Object.entries(registry.models).map(([id, entry]) => [id, add(entry)]);
      return { ...registry, models: Object.fromEntries(models) };
    },
    listModels: async (call) => {
      const page = await handlers.listModels(call);
      const add = adder(peers(call.params.room));
      return { ...page, models: page.models.map((row) => ({ ...row, model: add(row.model) })) };
    },
    modelDetails: async (call) => {
      const details = await handlers.modelDetails(call);
      return { ...details, model: adder(peers(call.params.room))(details.model) };
    },
    showModel: async (call) => {
      const shown = await handlers.showModel(call);
      return { ...shown, model: adder(peers(call.params.room))(shown.model) };
    },
  };
}

function adder(peers: readonly ConnectedPeer[]): (entry: ModelEntry) => ModelEntry {
  const holders = new Map<ArtifactId, Cached>();
  for (const { info, worker, serves } of peers) {
    const one = { worker_id: info.peerId, can_serve_p2p: serves !== undefined };
    for (const artifact of worker?.cached ?? []) {
      holders.set(artifact, [...(holders.get(artifact) ?? []), one]);
    }
  }
  return (entry) => {
    const cached_on_workers = holders.get(entry.artifact) ?? [];
    return { ...entry, availability: { ...entry.availability, cached_on_workers } };
  };
}

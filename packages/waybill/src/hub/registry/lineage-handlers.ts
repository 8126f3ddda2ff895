// Routes that explain models. What they answer is made by the pure functions of @waybill/sdk/registry.
import { lineageOf, modelDetails } from "@waybill/sdk/registry";
import type { Documents } from "../bucket/documents.ts";
import type { Handlers } from "../http/handler.ts";
import { readRegistry } from "./room-registry.ts";

export type LineageRoute = "modelDetails" | "modelLineage";

/** Makes the handlers; they hold no state. */
export function lineageHandlers(documents: Documents): Handlers<LineageRoute> {
  return {
    modelDetails: async ({ params: { room, model } }) =>
      modelDetails(await readRegistry(documents, room), model),

    modelLineage: async ({ params: { room, model }, query }) => {
      const depth = query.depth === undefined ? {} : { depth: Number(query.depth) };
      return lineageOf(await readRegistry(documents, room), model, depth);
    },
  };
}

// What the registry says of one model, and of those around it.
import * as v from "valibot";
import { ModelRef, RoomId } from "../ids.ts";
import { Lineage, ModelDetails } from "../lineage.ts";
import { ALL, route } from "./route.ts";

const ofModel = v.object({ room: RoomId, model: ModelRef });

export const LINEAGE_ROUTES = {
  modelDetails: route({
    method: "GET",
    path: "/v1/rooms/:room/models/:model/details",
    roles: ALL,
    summary: "Everything the registry says of a model, also of one that was removed",
    params: ofModel,
    response: ModelDetails,
  }),
  modelLineage: route({
    method: "GET",
    path: "/v1/rooms/:room/models/:model/lineage",
    roles: ALL,
    summary: "The graph of a model's ancestors and descendants, to a depth",
    params: ofModel,
    query: v.object({ depth: v.optional(v.pipe(v.string(), v.regex(/^\d{1,4}$/))) }),
    response: Lineage,
  }),
} as const;

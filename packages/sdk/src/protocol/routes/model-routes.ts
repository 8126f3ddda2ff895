// The registry: models, aliases and tags.
import * as v from "valibot";
import { ArtifactRecord } from "../artifact.ts";
import { ArtifactId, JobId, ModelId, ModelRef, ModelType, RoomId } from "../ids.ts";
import { ModelEntry, ModelPublication, Registry } from "../registry.ts";
import { ALL, DOERS, WORKERS, route } from "./route.ts";

const inRoom = v.object({ room: RoomId });
const ofModel = v.object({ room: RoomId, model: ModelRef });

export const MODEL_ROUTES = {
  readRegistry: route({
    method: "GET",
    path: "/v1/rooms/:room/registry",
    roles: ALL,
    summary: "The room's registry document",
    params: inRoom,
    response: Registry,
  }),
  showModel: route({
    method: "GET",
    path: "/v1/rooms/:room/models/:model",
    roles: ALL,
    summary: "A model by id, alias or latest-{type}",
    params: ofModel,
    response: v.object({ model: ModelEntry, aliases: v.array(v.string()) }),
  }),
  reserveModel: route({
    method: "POST",
    path: "/v1/rooms/:room/model-ids",
    roles: DOERS,
    summary:
      "An id for a model from its canonical description's digest; the same owner gets the same id again",
    params: inRoom,
    body: v.object({
      digest: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
      owner: v.pipe(v.string(), v.maxLength(128)),
      modelType: ModelType,
    }),
    response: v.object({ model: ModelId }),
  }),
  recordModel: route({
    method: "POST",
    path: "/v1/rooms/:room/model-uploads/:model",
    roles: WORKERS,
    summary:
      "Verify and record a model that its job's worker has put into the object store by itself, into its attempt's own folder",
    params: v.object({ room: RoomId, model: ModelId }),
    body: v.object({
      artifact: ArtifactId,
      modelType: ModelType,
      job: JobId,
      attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    }),
    response: ArtifactRecord,
  }),
  publishModel: route({
    method: "POST",
    path: "/v1/rooms/:room/models",
    roles: DOERS,
    summary:
      "Enter a verified artifact in the registry with alias, tags and latest-{type}, in one conditional write",
    params: inRoom,
    body: ModelPublication,
    response: ModelEntry,
  }),
  publishModels: route({
    method: "POST",
    path: "/v1/rooms/:room/model-sets",
    roles: DOERS,
    summary:
      "Enter a pipeline with its parts in the registry, in one conditional write: all of them or none",
    params: inRoom,
    body: v.object({
      /** The parts, and last the pipeline, whose `pipeline` names them. */
      models: v.pipe(v.array(ModelPublication), v.minLength(2), v.maxLength(9)),
    }),
    response: v.object({ models: v.array(ModelEntry) }),
  }),
} as const;

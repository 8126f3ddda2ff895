// OpenAPI 3.1, printed from the route table: it cannot say anything the hub does not do.
import { type JsonSchema, toJsonSchema, toJsonSchemaDefs } from "@valibot/to-json-schema";
import {
  ArtifactRecord,
  ERROR_CODES,
  ErrorBody,
  type ErrorCode,
  JobDoc,
  JobEvent,
  JobSpec,
  ModelEntry,
  ModelPublication,
  PeerInfo,
  ROUTE_NAMES,
  Registry,
  type Route,
  type RouteName,
  SignedPart,
  SignedRead,
  UploadPlan,
  UploadStatus,
  WorkerInfo,
  WorkerKeyInfo,
  routeOf,
} from "@waybill/sdk/protocol";
import type * as v from "valibot";
import { VERSION } from "../../version.ts";

/** What several routes share gets a name. */
const SHARED: Record<string, v.GenericSchema> = {
  ArtifactRecord,
  ErrorBody,
  JobDoc,
  JobEvent,
  JobSpec,
  ModelEntry,
  ModelPublication,
  PeerInfo,
  Registry,
  SignedPart,
  SignedRead,
  UploadPlan,
  UploadStatus,
  WorkerInfo,
  WorkerKeyInfo,
};

const CONVERSION = {
  target: "draft-2020-12",
  // Checks and transformations that JSON Schema cannot say are left to the hub's error messages.
  errorMode: "ignore",
  definitions: SHARED,
  overrideRef: ({ referenceId }: { referenceId: string }) => `#/components/schemas/${referenceId}`,
} as const;

/** Codes a client may meet on any route that needs a token, and on the public ones. */
const COMMON: readonly ErrorCode[] = ["invalid_request", "too_large", "internal", "storage_failed"];
const TOKEN: readonly ErrorCode[] = ["unauthorized", "forbidden", "not_found"];
const PUBLIC: Partial<Record<RouteName, readonly ErrorCode[]>> = {
  createRoom: ["forbidden", "conflict", "rate_limited"],
  join: ["not_found", "expired", "rate_limited"],
};

/** The whole document, ready for `JSON.stringify`. */
export function openApiDocument(): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const name of ROUTE_NAMES) {
    const route = routeOf(name);
    const path = route.path.replaceAll(/:(\w+)/g, "{$1}");
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(name, route) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Waybill hub",
      version: VERSION,
      description: "Control plane of a Waybill hub: rooms, uploads, artifacts, jobs and models.",
      license: { name: "MIT", identifier: "MIT" },
    },
    paths,
    components: {
      schemas: toJsonSchemaDefs(SHARED, { ...CONVERSION, typeMode: "output" }),
      securitySchemes: {
        dpop: {
          type: "apiKey",
          in: "header",
          name: "Authorization",
          description:
            "`Authorization: DPoP <token>` with a `DPoP` header: an EdDSA proof by the token's key (RFC 9449; `htu` is the path alone).",
        },
        bearer: {
          type: "http",
          scheme: "bearer",
          description: "Owner tokens, which are not bound to a key.",
        },
      },
    },
  };
}

function operation(name: RouteName, route: Route): Record<string, unknown> {
  return {
    operationId: name,
    summary: route.summary,
    tags: [route.path.split("/")[4] ?? "hub"],
    parameters: [...parameters("path", route.params), ...parameters("query", route.query)],
    ...requestBody(name, route),
    responses: {
      "200": { description: "Done", content: jsonContent(route.response, "output") },
      ...errorResponses(name, route),
    },
    security: security(route),
    ...(route.roles === "public" ? {} : { "x-roles": route.roles }),
  };
}

function security(route: Route): Record<string, string[]>[] {
  if (route.roles === "public") return [];
  return route.roles.includes("owner") ? [{ dpop: [] }, { bearer: [] }] : [{ dpop: [] }];
}

function requestBody(name: RouteName, route: Route): Record<string, unknown> {
  if (name === "putSample") {
    const schema = { type: "string", format: "binary" };
    return { requestBody: { required: true, content: { "application/octet-stream": { schema } } } };
  }
  if (route.body === undefined) return {};
  return { requestBody: { required: true, content: jsonContent(route.body, "input") } };
}

function jsonContent(schema: v.GenericSchema, typeMode: "input" | "output") {
  return { "application/json": { schema: convert(schema, typeMode) } };
}

function parameters(place: "path" | "query", schema: v.GenericSchema): Record<string, unknown>[] {
  const { properties = {}, required = [] } = convert(schema, "input");
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === "path" || required.includes(name),
    schema: property,
  }));
}

function errorResponses(name: RouteName, route: Route): Record<string, unknown> {
  const codes = [...COMMON, ...(route.roles === "public" ? (PUBLIC[name] ?? []) : TOKEN)];
  const byStatus = Map.groupBy(codes, (code) => String(ERROR_CODES[code].status));
  const content = { "application/json": { schema: { $ref: "#/components/schemas/ErrorBody" } } };
  const responses: Record<string, unknown> = {};
  for (const [status, same] of byStatus)
    responses[status] = { description: same.join(", "), content };
  return { ...responses, default: { description: "Any other error code", content } };
}

/** A schema without the dialect and definitions that the document holds once. */
function convert(schema: v.GenericSchema, typeMode: "input" | "output"): JsonSchema {
  const {
    $schema: _dialect,
    $defs: _definitions,
    ...rest
  } = toJsonSchema(schema, {
    ...CONVERSION,
    typeMode,
  });
  return rest;
}

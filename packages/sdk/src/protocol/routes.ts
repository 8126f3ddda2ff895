// Every HTTP route of the hub, once: who may call it, what goes in, what comes out. The hub mounts this
// table, the client is typed by it, OpenAPI is printed from it, and the access test walks it.
import * as v from "valibot";
import type { RoomId } from "./ids.ts";
import { ALIAS_ROUTES } from "./routes/alias-routes.ts";
import { ARRIVING_ROUTES } from "./routes/arriving-routes.ts";
import { HOLDER_ROUTES } from "./routes/holder-routes.ts";
import { JOB_ROUTES } from "./routes/job-routes.ts";
import { LINEAGE_ROUTES } from "./routes/lineage-routes.ts";
import { MODEL_LIST_ROUTES } from "./routes/model-list-routes.ts";
import { MODEL_ROUTES } from "./routes/model-routes.ts";
import { POLLING_ROUTES } from "./routes/polling-routes.ts";
import { RECEIPT_ROUTES } from "./routes/receipt-routes.ts";
import { RETENTION_ROUTES } from "./routes/retention-routes.ts";
import { REGISTRY_ROUTES } from "./routes/registry-routes.ts";
import { ROOM_ROUTES } from "./routes/room-routes.ts";
import type { Route, RouteSpec } from "./routes/route.ts";
import { TRANSFER_ROUTES } from "./routes/transfer-routes.ts";

export type { Route } from "./routes/route.ts";

const none = v.object({});

export const ROUTES = {
  ...ROOM_ROUTES,
  ...TRANSFER_ROUTES,
  ...ARRIVING_ROUTES,
  ...HOLDER_ROUTES,
  ...JOB_ROUTES,
  ...MODEL_ROUTES,
  ...MODEL_LIST_ROUTES,
  ...ALIAS_ROUTES,
  ...REGISTRY_ROUTES,
  ...RETENTION_ROUTES,
  ...RECEIPT_ROUTES,
  ...POLLING_ROUTES,
  ...LINEAGE_ROUTES,
} as const satisfies Record<string, RouteSpec>;

export type RouteName = keyof typeof ROUTES;
type Entry<N extends RouteName> = (typeof ROUTES)[N];
type RequiredKeys<T> = { [K in keyof T]-?: undefined extends T[K] ? never : K }[keyof T];
type InputOf<N extends RouteName, K extends "params" | "query" | "body"> =
  Entry<N> extends { readonly [P in K]: infer S extends v.GenericSchema }
    ? [RequiredKeys<v.InferInput<S>>] extends [never]
      ? { readonly [P in K]?: v.InferInput<S> }
      : { readonly [P in K]: v.InferInput<S> }
    : { readonly [P in K]?: never };
/** What a caller gives: `params`, `query` and `body` where the route has them; one without a required member may be left out. */
export type RouteInput<N extends RouteName> = InputOf<N, "params"> &
  InputOf<N, "query"> &
  InputOf<N, "body">;
export type RouteParams<N extends RouteName> =
  Entry<N> extends { readonly params: infer S extends v.GenericSchema }
    ? v.InferOutput<S>
    : Record<string, never>;
export type RouteQuery<N extends RouteName> =
  Entry<N> extends { readonly query: infer S extends v.GenericSchema }
    ? v.InferOutput<S>
    : Record<string, never>;
export type RouteBody<N extends RouteName> =
  Entry<N> extends { readonly body: infer S extends v.GenericSchema }
    ? v.InferOutput<S>
    : undefined;
export type RouteOutput<N extends RouteName> = v.InferOutput<Entry<N>["response"]>;

/** A route with every field present. */
export function routeOf(name: RouteName): Route {
  const entry: RouteSpec = ROUTES[name];
  return { ...entry, params: entry.params ?? none, query: entry.query ?? none, body: entry.body };
}

/** All names, in the table's order. */
export const ROUTE_NAMES = Object.keys(ROUTES) as RouteName[];

/** The signaling socket's path. */
export function signalingPath(room: RoomId): string {
  return `/v1/rooms/${room}/signal`;
}

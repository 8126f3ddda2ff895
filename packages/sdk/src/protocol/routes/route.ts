// What a route of the hub is, and who the roles in the tables beside this file stand for.
import type * as v from "valibot";
import type { Role } from "../access.ts";

type AnyObject = v.GenericSchema<unknown, Record<string, unknown>>;

export type Route = {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Hono's syntax: `:room`. */
  readonly path: string;
  /** `public`: no token. Otherwise the roles of the room in the path. */
  readonly roles: "public" | readonly Role[];
  readonly summary: string;
  readonly params: AnyObject;
  readonly query: AnyObject;
  readonly body: v.GenericSchema | undefined;
  readonly response: v.GenericSchema;
};

/** A route as the tables write it: without what it does not have. */
export type RouteSpec = Omit<Route, "params" | "query" | "body"> & Partial<Route>;

export const ALL = ["owner", "member", "worker", "viewer"] as const;
export const WRITERS = ["owner", "member"] as const;
export const DOERS = ["owner", "member", "worker"] as const;
export const OWNER = ["owner"] as const;
export const WORKERS = ["worker"] as const;

/** Keeps a route's exact types, from which callers and handlers are typed. */
export const route = <const R extends RouteSpec>(spec: R) => spec;

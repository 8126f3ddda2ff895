// The hub's HTTP surface: mounts the whole route table. Every request goes the same way
//
//   id ─▶ caller (token, proof) ─▶ role and room ─▶ decode params, query, body ─▶ handler ─▶ JSON
//
// and every failure leaves as an ErrorBody. Handlers never see an unproven caller or an unchecked field.
import {
  ROUTE_NAMES,
  type Route,
  type RouteName,
  WaybillError,
  cryptoRandom,
  decodeJson,
  decodeValue,
  messageOf,
  randomText,
  routeOf,
} from "@waybill/sdk/protocol";
import { Hono, type Context } from "hono";
import { cors } from "hono/cors";
import { wrongRoom, type Authenticator } from "./access/authenticator.ts";
import { errorAnswer } from "./http/errors.ts";
import type { Call, Caller, Handler, Handlers } from "./http/handler.ts";
import { maxBodyBytes, readBody } from "./http/request-body.ts";
import type { Log } from "./log.ts";
import { openApiDocument } from "./openapi/openapi.ts";
import { REGISTRY_SCHEMA_PATH, registrySchema } from "./openapi/registry-schema.ts";

export type AppDeps = {
  /** Routes without a handler answer 503. */
  readonly handlers: Partial<Handlers<RouteName>>;
  readonly authenticator: Pick<Authenticator, "authenticate">;
  /** Told of every authorised request in a room. */
  readonly onActivity: (caller: Caller) => void;
  /** The address a request came from. */
  readonly remoteOf: (context: Context) => string;
  readonly log: Log;
};

type Env = { Variables: { requestId: string } };

/** Routes whose body is bytes, not JSON. */
const BINARY: ReadonlySet<RouteName> = new Set<RouteName>(["putSample"]);
/** A peer that is merely connected keeps no room's session alive, whichever way it is connected. */
const SILENT: ReadonlySet<RouteName> = new Set<RouteName>(["sendPoll", "receivePoll"]);
const NO_BYTES = new Uint8Array();

/** The Hono app; socket-free, so tests call `app.request`. */
export function createApp(deps: AppDeps): Hono<Env> {
  const app = new Hono<Env>();
  const { log } = deps;

  app.use(
    cors({
      origin: "*",
      allowMethods: ["GET", "POST", "PUT", "DELETE", "HEAD"],
      allowHeaders: ["authorization", "dpop", "content-type", "x-request-id"],
      exposeHeaders: ["x-request-id", "retry-after", "server-timing"],
      maxAge: 86_400,
    }),
  );
  app.use(async (context, next) => {
    const given = context.req.header("x-request-id");
    const requestId = given !== undefined && /^[\w-]{1,64}$/.test(given) ? given : newRequestId();
    context.set("requestId", requestId);
    const startMs = performance.now();
    await next();
    // What of a call was the path and what the hub's own work: clients pace themselves by the path.
    context.header("server-timing", `hub;dur=${(performance.now() - startMs).toFixed(1)}`);
    context.header("x-request-id", requestId);
    context.header("cache-control", "no-store");
    context.header("x-content-type-options", "nosniff");
  });
  app.onError((error, context) => {
    const requestId = context.get("requestId");
    const answer = errorAnswer(error, requestId);
    const { method, path } = context.req;
    const facts = { requestId, method, path, status: answer.status, code: answer.body.error.code };
    if (answer.status >= 500) {
      const stack = error instanceof WaybillError ? undefined : error.stack;
      // A worker that is out of reach is no error of the hub's.
      const isAway = error instanceof WaybillError && error.code === "unreachable";
      const level = isAway ? "info" : "error";
      log(level, messageOf(error), { ...facts, cause: causesOf(error), stack });
    } else {
      // Only the code: a message may quote what the caller sent.
      log("debug", "request refused", facts);
    }
    return json(answer.body, answer.status, answer.headers);
  });

  let openApi: string | undefined;
  app.get("/openapi.json", (context) => {
    openApi ??= JSON.stringify(openApiDocument());
    return context.body(openApi, 200, { "content-type": "application/json" });
  });
  app.get(REGISTRY_SCHEMA_PATH, (context) =>
    context.body(JSON.stringify(registrySchema()), 200, {
      "content-type": "application/schema+json",
    }),
  );
  for (const name of ROUTE_NAMES) mount(app, name, deps);
  refuseOtherMethods(app);
  app.notFound((context) => {
    const message = `the hub has no ${context.req.path}`;
    const hint = "see /openapi.json for what it has";
    return json({ error: { code: "not_found", message, hint } }, 404);
  });
  return app;
}

function mount(app: Hono<Env>, name: RouteName, deps: AppDeps): void {
  const route = routeOf(name);
  // The table ties the handler of `name` to the schemas of `name`; a loop over names cannot express that.
  const handler = deps.handlers[name] as Handler<RouteName> | undefined;
  app.on(route.method, route.path, async (context) => {
    const caller = await authorise(route, context, deps);
    if (caller !== undefined && !SILENT.has(name)) deps.onActivity(caller);
    if (handler === undefined) {
      throw new WaybillError("unreachable", `this hub does not serve ${name}`);
    }
    const call = {
      params: decodeValue(route.params, context.req.param(), `path of ${name}`),
      query: decodeValue(route.query, context.req.query(), `query of ${name}`),
      ...(await decodeBody(name, route, context.req.raw)),
      caller,
      remote: deps.remoteOf(context),
      signal: context.req.raw.signal,
    };
    return json(await handler(call as Call<RouteName>));
  });
}

async function authorise(
  route: Route,
  context: Context<Env>,
  deps: AppDeps,
): Promise<Caller | undefined> {
  if (route.roles === "public") return undefined;
  const { req } = context;
  const caller = await deps.authenticator.authenticate({
    authorization: req.header("authorization"),
    dpop: req.header("dpop"),
    method: req.method,
    path: new URL(req.url).pathname,
  });
  const room = req.param("room") ?? "";
  if (room !== caller.room) throw wrongRoom(caller.room, room);
  if (!route.roles.includes(caller.role)) {
    throw new WaybillError("forbidden", `a ${caller.role} may not do this`, {
      hint: `it takes the role ${route.roles.join(" or ")}`,
    });
  }
  return caller;
}

async function decodeBody(
  name: RouteName,
  route: Route,
  request: Request,
): Promise<{ body: unknown; bytes: Uint8Array }> {
  const maxBytes = maxBodyBytes(name);
  if (BINARY.has(name)) return { body: undefined, bytes: await readBody(request, maxBytes) };
  if (route.body === undefined) return { body: undefined, bytes: NO_BYTES };
  const text = new TextDecoder().decode(await readBody(request, maxBytes));
  return { body: decodeJson(route.body, text, `body of ${name}`, maxBytes), bytes: NO_BYTES };
}

/** A path of the table under another method: 405 and the methods it has. */
function refuseOtherMethods(app: Hono<Env>): void {
  const methods = new Map<string, string[]>();
  for (const name of ROUTE_NAMES) {
    const { path, method } = routeOf(name);
    methods.set(path, [...(methods.get(path) ?? []), method]);
  }
  for (const [path, known] of methods) {
    const allow = known.includes("GET") ? [...known, "HEAD"] : known;
    app.all(path, (context) => {
      const message = `${context.req.method} is not a method of ${context.req.path}`;
      return json({ error: { code: "invalid_request", message } }, 405, {
        allow: allow.join(", "),
      });
    });
  }
}

function json(
  body: unknown,
  status = 200,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}

/** `a ← b ← c` of an error's causes, for the log. */
function causesOf(error: Error): string | undefined {
  const causes: string[] = [];
  for (let cause: unknown = error.cause; cause !== undefined && causes.length < 5;) {
    causes.push(messageOf(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return causes.length === 0 ? undefined : causes.join(" ← ");
}

function newRequestId(): string {
  return randomText(12, cryptoRandom);
}

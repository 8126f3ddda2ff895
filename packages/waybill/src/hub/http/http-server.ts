// The socket under the app: one node:http server for requests and WebSocket upgrades.
import { createAdaptorServer } from "@hono/node-server";
import { RoomId, WaybillError, signalingPath } from "@waybill/sdk/protocol";
import type { Context, Hono } from "hono";
import { type IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import * as v from "valibot";

export type HttpServerInit = {
  // Any Hono app will do.
  readonly fetch: Hono["fetch"];
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly onUpgrade: (
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    room: RoomId,
  ) => void;
};

export interface HttpServer {
  readonly port: number;
  /** Accepts nothing more, lets requests under way end for up to `graceMs`. */
  close(graceMs: number): Promise<void>;
}

/** Longer than the idle time of common proxies, so that they close first. */
const KEEP_ALIVE_MS = 75_000;

/** Listens; throws `conflict` when the port is taken, `local_io` when the address cannot be used. */
export async function listen(init: HttpServerInit): Promise<HttpServer> {
  let isClosing = false;
  const server = createAdaptorServer({
    fetch: async (request, env) => {
      const answer = await init.fetch(request, env);
      // Or whoever goes on asking on an open connection holds up the end.
      if (isClosing) answer.headers.set("connection", "close");
      return answer;
    },
    hostname: init.host,
    overrideGlobalObjects: false,
    serverOptions: { keepAliveTimeout: KEEP_ALIVE_MS, noDelay: true },
  });
  if (!(server instanceof Server)) throw new WaybillError("internal", "not an HTTP/1.1 server");
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const room = roomOfUpgrade(request);
    if (room === undefined) {
      socket.end("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    init.onUpgrade(request, socket, head, room);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(listenError(init, cause)));
    server.listen(init.port, init.host, resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") {
    throw new WaybillError("internal", "the server has no port");
  }
  return {
    port: address.port,
    close: (graceMs) => {
      isClosing = true;
      return close(server, graceMs);
    },
  };
}

async function close(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(timer);
}

function roomOfUpgrade(request: IncomingMessage): RoomId | undefined {
  const path = request.url?.split("?")[0] ?? "";
  const room = v.safeParse(RoomId, path.split("/")[3]);
  return room.success && path === signalingPath(room.output) ? room.output : undefined;
}

function listenError({ host, port }: HttpServerInit, cause: Error): WaybillError {
  const code = "code" in cause ? cause.code : undefined;
  if (code === "EADDRINUSE") {
    return new WaybillError("conflict", `port ${port} of ${host} is in use`, {
      cause,
      hint: "another hub may be running; give this one another port with --port",
    });
  }
  return new WaybillError("local_io", `the hub cannot listen on ${host}:${port}`, {
    cause,
    hint: code === "EACCES" ? "ports below 1024 need special rights" : "check --host and --port",
  });
}

/** The peer's address; behind a proxy of ours, the one it reports. */
export function remoteAddress(context: Context, trustProxy: boolean): string {
  const env: unknown = context.env;
  if (typeof env === "object" && env !== null && "incoming" in env) {
    const { incoming } = env as { incoming: IncomingMessage };
    return remoteOfRequest(incoming, trustProxy);
  }
  return (trustProxy ? reportedBy(context.req.header("x-forwarded-for")) : undefined) ?? "local";
}

/** The same of a request that has reached no app, such as an upgrade. */
export function remoteOfRequest(request: IncomingMessage, trustProxy: boolean): string {
  const forwarded = request.headers["x-forwarded-for"];
  const header = Array.isArray(forwarded) ? forwarded.at(-1) : forwarded;
  const reported = trustProxy ? reportedBy(header) : undefined;
  return reported ?? request.socket.remoteAddress ?? "unknown";
}

/** Each proxy appends whom it saw; only the last entry is from the one that is ours. */
function reportedBy(forwarded: string | undefined): string | undefined {
  const reported = forwarded?.split(",").at(-1)?.trim();
  return reported === "" ? undefined : reported;
}

// Kept-alive connections by where they lead, and the one repetition that keeping them costs.
import type * as net from "node:net";
import { WaybillError } from "../protocol/index.ts";
import { abortReason } from "../timing/index.ts";
import {
  type ByteRequest,
  type GetAnswer,
  type GetRequest,
  MAX_TEXT_BYTES,
  type PutAnswer,
  type PutRequest,
} from "./byte-transport.ts";
import { Connection, type Gates } from "./connection.node.ts";
import type { Head } from "./http-head.node.ts";
import { type ProxyEnvironment, proxyFor } from "./proxy.node.ts";
import { WarmConnections } from "./warm-connections.node.ts";

/** Idle connections kept per origin: as many as one transfer uses. */
const MAX_IDLE = 16;

/** A server that had closed a kept connection says so within a round trip; what dies later died of something else. */
const CLOSED_MS = 1000;

export type PoolInit = {
  /** Empty: no proxies. */
  readonly env: ProxyEnvironment;
  readonly lookup: net.LookupFunction | undefined;
  readonly gates: Gates;
};

type Asked = { readonly connection: Connection; readonly head: Head; readonly keep: () => void };

export class ConnectionPool {
  readonly #init: PoolInit;
  readonly #idle = new Map<string, Connection[]>();
  readonly #warm = new WarmConnections<Connection>();

  constructor(init: PoolInit) {
    this.#init = init;
  }

  async get(request: GetRequest): Promise<GetAnswer> {
    const { connection, head, keep } = await this.#ask("GET", request);
    const gate = this.#init.gates.down;
    return {
      status: head.status,
      header: headerOf(head),
      body: connection.body(head, { into: request.into, gate, keep }),
    };
  }

  async put(request: PutRequest): Promise<PutAnswer> {
    const { connection, head, keep } = await this.#ask("PUT", request);
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of connection.body(head, { gate: undefined, keep })) {
      pieces.push(Buffer.from(piece.subarray(0, MAX_TEXT_BYTES - bytes)));
      bytes += piece.length;
      if (bytes >= MAX_TEXT_BYTES) break;
    }
    const text = Buffer.concat(pieces).toString("utf8");
    return { status: head.status, header: headerOf(head), text };
  }

  /** Opens connections for requests to come. */
  warm(origin: string, connections: number): void {
    const url = new URL(origin);
    this.#warm.add(url.origin, connections, {
      open: (signal) => this.#open(url, { signal }),
      keep: (connection) => this.#keep(url.origin, connection),
    });
  }

  close(): void {
    this.#warm.close();
    // Each leaves its list as it closes.
    for (const connection of [...this.#idle.values()].flat()) connection.destroy();
    this.#idle.clear();
  }

  async #ask(method: "GET" | "PUT", request: GetRequest | PutRequest): Promise<Asked> {
    const { signal } = request;
    if (signal?.aborted === true) throw abortReason(signal);
    const url = new URL(request.url);
    const kept =
      this.#takeIdle(url, request) ??
      (await this.#warm.take(url.origin, request.maxConnectionAgeMs ?? Infinity, signal));
    if (kept !== undefined) {
      const askedMs = performance.now();
      try {
        return await this.#askOn(kept, method, url, request);
      } catch (error) {
        // The server closed the kept connection while the request was on its way: RFC 9112 §9.3.1
        // allows a GET and a PUT to be sent again.
        const closed = error instanceof WaybillError && error.code === "unreachable";
        const atOnce = performance.now() - askedMs < CLOSED_MS;
        if (!closed || kept.answered || !atOnce) throw error;
      }
    }
    return this.#askOn(await this.#open(url, request), method, url, request);
  }

  async #open(
    url: URL,
    { signal, idleMs }: Pick<ByteRequest, "signal" | "idleMs">,
  ): Promise<Connection> {
    const proxy = proxyFor(url, this.#init.env);
    return Connection.open({ url, proxy, lookup: this.#init.lookup, signal, idleMs });
  }

  async #askOn(
    connection: Connection,
    method: string,
    url: URL,
    request: GetRequest & Partial<PutRequest>,
  ): Promise<Asked> {
    const head = await connection.ask(method, url, request, this.#init.gates);
    return { connection, head, keep: () => this.#keep(url.origin, connection) };
  }

  #takeIdle(url: URL, { maxConnectionAgeMs = Infinity }: ByteRequest): Connection | undefined {
    const list = this.#idle.get(url.origin) ?? [];
    for (let one = list.pop(); one !== undefined; one = list.pop()) {
      if (one.isFit(maxConnectionAgeMs)) return one;
      one.destroy();
    }
    return undefined;
  }

  #keep(origin: string, connection: Connection): void {
    const list = this.#idle.get(origin) ?? [];
    this.#idle.set(origin, list);
    if (list.length >= MAX_IDLE) {
      connection.destroy();
      return;
    }
    list.push(connection);
    connection.rest(() => {
      const at = list.indexOf(connection);
      if (at !== -1) list.splice(at, 1);
    });
  }
}

function headerOf(head: Head): (name: string) => string | undefined {
  return (name) => head.headers.get(name.toLowerCase());
}

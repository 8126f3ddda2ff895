// Bulk HTTP in Node: a small client of our own on the socket (docs/decisions/0002-blake3.md, "The wire"), which
// receives into memory that is used again, knows how old its connections are, and can be slowed down.
import type * as net from "node:net";
import { RateGate, type RateLimit } from "../timing/index.ts";
import type { ByteTransport, ByteTransportInit } from "./byte-transport.ts";
import { ConnectionPool } from "./connection-pool.node.ts";

export type NodeTransportInit = ByteTransportInit & {
  /** Resolves names; default: the system's. */
  readonly lookup?: net.LookupFunction;
};

/** Bulk HTTP with kept-alive connections; `https:` uses Node's certificates. */
export function createByteTransport(init: NodeTransportInit = {}): ByteTransport {
  const { limits, proxy = "environment" } = init;
  const pool = new ConnectionPool({
    env: proxy === "environment" ? process.env : {},
    lookup: init.lookup,
    gates: {
      up: gateOf(limits?.up),
      down: gateOf(limits?.down),
    },
  });
  return {
    put: (request) => pool.put(request),
    get: (request) => pool.get(request),
    warm: (origin, connections) => pool.warm(origin, connections),
    close: () => pool.close(),
  };
}

function gateOf(limit: RateLimit | RateGate | undefined): RateGate | undefined {
  return limit === undefined || limit instanceof RateGate ? limit : new RateGate(limit);
}

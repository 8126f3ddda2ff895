// Callers and calls for tests of handlers.
import type {
  Role,
  RoomId,
  RouteBody,
  RouteName,
  RouteParams,
  RouteQuery,
} from "@waybill/sdk/protocol";
import type { Call, Caller } from "../http/handler.ts";
import { peerIdOf } from "../signaling/peer-id.ts";

export const LAB = "lab" as RoomId;

/** Thumbprint of a made-up key. */
const thumbprintOf = (key: string) => key.padEnd(43, "x");

export const workerIdOf = (key: string) => peerIdOf(thumbprintOf(key), "w1");

export function callerOf(role: Role, key: string = role): Caller {
  return { room: LAB, role, subject: thumbprintOf(key), tokenId: `t-${key}` };
}

type CallInit<N extends RouteName> = {
  readonly params?: Partial<RouteParams<N>>;
  readonly query?: RouteQuery<N>;
  readonly body?: RouteBody<N>;
  readonly bytes?: Uint8Array;
};

/** What a handler gets for a request to room `lab`. */
export function callOf<N extends RouteName>(caller: Caller, init: CallInit<N> = {}): Call<N> {
  return {
    params: { room: LAB, ...init.params } as RouteParams<N>,
    query: (init.query ?? {}) as RouteQuery<N>,
    body: init.body as RouteBody<N>,
    caller,
    bytes: init.bytes ?? new Uint8Array(),
    remote: "127.0.0.1",
    signal: new AbortController().signal,
  };
}

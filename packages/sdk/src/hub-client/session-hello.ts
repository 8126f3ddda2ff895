// A peer's first message: who it is, with a fresh proof that it holds the key its token is bound to.
import {
  PROTOCOL_VERSION,
  type PeerToHub,
  WaybillError,
  signalingPath,
} from "../protocol/index.ts";
import type { SessionInit } from "./session.ts";

/** Throws `unauthorized` without a token. */
export async function makeHello(init: SessionInit): Promise<Extract<PeerToHub, { type: "hello" }>> {
  const { hub, room, name, instance, agreement, worker } = init;
  if (hub.credential === undefined) {
    throw new WaybillError("unauthorized", `no token for room ${room}`, {
      hint: "join it with `waybill room join CODE`, or set WAYBILL_TOKEN",
    });
  }
  const { token, identity } = hub.credential;
  const proof = await identity.proof({ method: "GET", path: signalingPath(room), token });
  const serves = init.serves?.();
  return {
    type: "hello",
    protocol: PROTOCOL_VERSION,
    token,
    proof,
    publicKey: identity.publicKey,
    instance,
    name,
    ...(agreement === undefined ? {} : { agreement }),
    ...(serves === undefined ? {} : { serves }),
    ...(worker === undefined ? {} : { worker: worker() }),
  };
}

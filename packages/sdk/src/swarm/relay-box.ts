// Sealing of relayed control messages (peer-channel.md §7): the hub carries what it cannot read. Both directions of a
// pair of processes have their own key; a counter that only grows is the nonce and keeps copies from passing twice.
import * as v from "valibot";
import {
  type KeyAgreement,
  LIMITS,
  type PeerId,
  type PeerInfo,
  WaybillError,
  decodeValue,
} from "../protocol/index.ts";
import { fromBase64, toBase64 } from "../artifact/base64.ts";
import type { LinkKeysPort } from "./link-keys-port.ts";

/** Of an agreement key, in base64url: 96 bits tell a process's keys apart. */
const KEY_ID_CHARS = 16;
/** GCM's tag, and base64's growth, on the largest control message. */
const MAX_BOX_CHARS = Math.ceil(((LIMITS.controlMessageBytes + 16) * 4) / 3);
/** Peers whose keys are remembered: more than a room holds. The one unused for longest goes first. */
const MAX_PEERS = 10_000;
/** Keys whose counters are remembered for good, at a hundred bytes each: of more processes than any other one ever hears. */
const MAX_COUNTERS = 200_000;

export const SealedMessage = v.object({
  type: v.literal("sealed"),
  /** The sender's agreement key: its first characters. */
  key: v.pipe(v.string(), v.length(KEY_ID_CHARS)),
  n: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  box: v.pipe(v.string(), v.maxLength(MAX_BOX_CHARS)),
});
export type SealedMessage = v.InferOutput<typeof SealedMessage>;

type Pair = { readonly seal: CryptoKey; readonly open: CryptoKey };
type Known = {
  readonly key: string;
  /** Rejects when the agreement is not the peer's own. */
  readonly pair: Promise<Pair>;
};

export type RelayBoxInit = {
  readonly keys: LinkKeysPort;
  /** Our own id, as the hub last said. */
  readonly self: () => PeerId | undefined;
  readonly maxCounters?: number;
};

export class RelayBox {
  readonly #init: RelayBoxInit;
  readonly #known = new Map<PeerId, Known>();
  /** Highest counter opened, by peer and key: it stays when the hub shows another key, and then this one again. */
  readonly #opened = new Map<string, number>();
  /** One for all peers: no key ever sees a number twice, whatever links come and go. */
  #n = 0;
  readonly #maxCounters: number;

  constructor(init: RelayBoxInit) {
    this.#init = init;
    this.#maxCounters = init.maxCounters ?? MAX_COUNTERS;
  }

  /** What the hub says of a peer; a new agreement key replaces the old one. True when it is a new process. */
  learn(peer: PeerInfo): boolean {
    const { agreement, peerId } = peer;
    const before = this.#known.get(peerId);
    if (agreement === undefined || before?.key === agreement.key) return false;
    const pair = this.#derive(peer, agreement);
    // Whoever uses it hears of the failure; until then it is nobody's.
    pair.catch(() => undefined);
    this.#known.delete(peerId);
    this.#known.set(peerId, { key: agreement.key, pair });
    forgetOldest(this.#known);
    return before !== undefined;
  }

  knows(peer: PeerId): boolean {
    return this.#known.has(peer);
  }

  /** Seals a message's text; throws `unreachable` for a peer whose key is not known, `unauthorized` for a wrong one. */
  async seal(to: PeerId, text: string): Promise<SealedMessage> {
    const known = this.#known.get(to);
    if (known === undefined) {
      throw new WaybillError("unreachable", `peer ${to} has no key to encrypt for`);
    }
    const { seal } = await known.pair;
    this.#n += 1;
    const n = this.#n;
    const bytes = new TextEncoder().encode(text);
    const box = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce(n) }, seal, bytes);
    const key = this.#init.keys.agreement.key.slice(0, KEY_ID_CHARS);
    return { type: "sealed", key, n, box: toBase64Url(new Uint8Array(box)) };
  }

  /** Opens what the hub relayed; throws `invalid_request` or `unauthorized`. Must be called in the order of arrival. */
  async open(from: PeerId, value: unknown): Promise<string> {
    const message = decodeValue(SealedMessage, value, `a relayed message of peer ${from}`);
    const known = this.#known.get(from);
    if (known?.key.slice(0, KEY_ID_CHARS) !== message.key) {
      throw new WaybillError("unauthorized", `a message of peer ${from} uses a key it has not`);
    }
    const counter = `${from} ${known.key}`;
    const highest = this.#opened.get(counter);
    if (message.n <= (highest ?? 0)) {
      throw new WaybillError("unauthorized", `a message of peer ${from} came a second time`);
    }
    // A counter that was forgotten would let copies pass.
    if (highest === undefined && this.#opened.size >= this.#maxCounters) {
      const text = `a message of peer ${from} is one of more processes than can be remembered`;
      throw new WaybillError("unauthorized", text);
    }
    const { open } = await known.pair;
    try {
      const iv = nonce(message.n);
      const box = fromBase64Url(message.box);
      const text = await crypto.subtle.decrypt({ name: "AES-GCM", iv }, open, box);
      // Only what was really the peer's may move the counter.
      this.#opened.set(counter, message.n);
      return new TextDecoder("utf-8", { fatal: true }).decode(text);
    } catch (cause) {
      throw new WaybillError(
        "unauthorized",
        `a message of peer ${from} does not open: it was changed or is for another process`,
        { cause },
      );
    }
  }

  async #derive(peer: PeerInfo, agreement: KeyAgreement): Promise<Pair> {
    const { keys, self } = this.#init;
    const me = self();
    if (me === undefined || !(await keys.vouches(peer))) {
      throw new WaybillError(
        "unauthorized",
        `the agreement key of peer ${peer.peerId} is not its own`,
      );
    }
    const secret = await keys.sharedSecret(agreement.key);
    const base = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveKey"]);
    const mine = { peer: me, key: keys.agreement.key };
    const theirs = { peer: peer.peerId, key: agreement.key };
    return {
      seal: await directionKey(base, mine, theirs, "encrypt"),
      open: await directionKey(base, theirs, mine, "decrypt"),
    };
  }
}

function forgetOldest(map: Map<string, unknown>): void {
  const [oldest] = map.keys();
  if (map.size > MAX_PEERS && oldest !== undefined) map.delete(oldest);
}

type End = { readonly peer: PeerId; readonly key: string };

/** RFC 5869 with an empty salt; the sender comes first, so the two directions differ. */
async function directionKey(
  base: CryptoKey,
  from: End,
  to: End,
  use: "encrypt" | "decrypt",
): Promise<CryptoKey> {
  const info = ["waybill-relay.1", from.peer, to.peer, from.key, to.key].join("\n");
  const how = {
    name: "HKDF",
    hash: "SHA-256",
    salt: new Uint8Array(),
    info: new TextEncoder().encode(info),
  };
  return crypto.subtle.deriveKey(how, base, { name: "AES-GCM", length: 256 }, false, [use]);
}

/** 96 bits, big-endian. */
function nonce(n: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(12);
  new DataView(bytes.buffer).setBigUint64(4, BigInt(n));
  return bytes;
}

function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function fromBase64Url(text: string): Uint8Array<ArrayBuffer> {
  const plain = text.replaceAll("-", "+").replaceAll("_", "/");
  return new Uint8Array(
    fromBase64(plain.padEnd(Math.ceil(plain.length / 4) * 4, "="), "a sealed box"),
  );
}

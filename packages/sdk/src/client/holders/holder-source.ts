// A peer of the room that serves the artifact over HTTP, as a source (docs/protocol/data-server.md §3). It has nothing until one
// of its addresses has proved to be it, and is of no use any more when none does.
//
//   proving ──an address proves to be it──▶ serving ──a request fails──▶ proving again, and asked meanwhile
//      └──none does──▶ gone                    └──it has it no longer──▶ gone
import type { ShardMap, ShardRun } from "../../artifact/index.ts";
import { HttpMirrorSource, reachableAddress } from "../../http/index.ts";
import type { ByteTransport } from "../../platform/index.ts";
import {
  type ArtifactId,
  type Holder,
  type HttpAddress,
  WaybillError,
} from "../../protocol/index.ts";
import {
  type FetchOptions,
  type LinkBook,
  ShardSet,
  type Source,
  type SourceAdvice,
} from "../../transfer/index.ts";

/** A holder; one that the hub has not told of has no peer id. */
export type ServingPeer = Omit<Holder, "peer"> & Partial<Pick<Holder, "peer">>;

export type HolderSourceInit = {
  readonly holder: ServingPeer;
  readonly artifact: ArtifactId;
  readonly map: ShardMap;
  readonly transport: ByteTransport;
  readonly links: LinkBook;
};

/** The server bounds its requests for all readers together. */
const WINDOW = 8;
/** A cache beside us may be asked by a whole cluster at once: what it costs to go to the store instead is a whole artifact. */
const BUSY_PROOF_MS = 10_000;
/** A complaint is a favour to others: it holds nobody up. */
const COMPLAIN_MS = 2000;
/** A holder that brings nothing for so long is given up, and one that fills is waited for. */
const PATIENCE_MS = 60_000;

export class HolderSource implements Source {
  readonly id: string;
  readonly kind = "peer";
  readonly cost = "free";
  readonly window = WINDOW;
  readonly giveUpMs = PATIENCE_MS;
  readonly patienceMs: number | undefined;
  /** Settles when it is known whether the holder can be reached; never rejects. */
  readonly proven: Promise<void>;
  readonly #init: HolderSourceInit;
  readonly #stop = new AbortController();
  readonly #onShards = new Set<() => void>();
  readonly #onGone = new Set<(reason: string) => void>();
  #inner: HttpMirrorSource | undefined;
  #address: HttpAddress | undefined;
  #complaint: Promise<void> | undefined;
  #proving: Promise<void> | undefined;
  #goneWhy: string | undefined;

  constructor(init: HolderSourceInit) {
    const { name, peer, fills } = init.holder;
    this.#init = init;
    this.id = `${fills === true ? "cache proxy" : "peer"} ${name}${peer === undefined ? "" : ` (${peer.slice(0, 10)})`}`;
    this.patienceMs = fills === true ? PATIENCE_MS : undefined;
    this.proven = this.#prove();
  }

  get isWorthWaitingFor(): boolean {
    const { fills, near } = this.#init.holder;
    return fills === true && near === true;
  }

  shards(): ShardSet {
    return this.#inner === undefined ? ShardSet.empty : ShardSet.all(this.#init.map.count);
  }

  onShards(listener: () => void): () => void {
    this.#onShards.add(listener);
    return () => this.#onShards.delete(listener);
  }

  onGone(listener: (reason: string) => void): () => void {
    this.#onGone.add(listener);
    const why = this.#goneWhy;
    // It was so before anybody listened.
    if (why !== undefined) queueMicrotask(() => this.#onGone.has(listener) && listener(why));
    return () => this.#onGone.delete(listener);
  }

  runEnd(first: number): number {
    return this.#init.map.objectEnd(first);
  }

  advice(): SourceAdvice {
    return this.#inner?.advice() ?? {};
  }

  async *fetch(run: ShardRun, options: FetchOptions): AsyncGenerator<Uint8Array> {
    if (this.#inner === undefined) throw new WaybillError("unreachable", "it cannot be reached");
    try {
      yield* this.#inner.fetch(run, options);
    } catch (error) {
      if (options.signal.aborted || !(error instanceof WaybillError)) throw error;
      if (error.code === "not_found" || error.code === "source_changed") {
        this.#gone("it has it no longer");
      } else if (error.code === "unreachable" || error.code === "timeout") {
        this.#proving ??= this.#prove().finally(() => (this.#proving = undefined));
      }
      throw error;
    }
  }

  onBadShard(): void {
    this.#complaint ??= this.#complain();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#complaint;
    await this.proven;
    await this.#proving;
  }

  /** Has it look at what it serves (docs/protocol/data-server.md §3). */
  async #complain(): Promise<void> {
    const { transport, artifact } = this.#init;
    if (this.#address === undefined) return;
    const { url, token } = this.#address;
    try {
      await transport.put({
        url: `${url}/v1/artifacts/${artifact}/damaged`,
        headers: { authorization: `Bearer ${token}` },
        body: new Uint8Array(0),
        signal: AbortSignal.timeout(COMPLAIN_MS),
      });
    } catch {
      // It is not asked again anyway.
    }
  }

  async #prove(): Promise<void> {
    const { transport, holder } = this.#init;
    const { signal } = this.#stop;
    const proveMs = this.isWorthWaitingFor ? BUSY_PROOF_MS : undefined;
    const found = await reachableAddress(transport, holder.addresses, signal, proveMs);
    if (signal.aborted) return;
    if (found === undefined) {
      this.#gone("none of its addresses answers from here");
      return;
    }
    this.#address ??= found;
    this.#inner ??= this.#open(found);
    for (const listener of this.#onShards) listener();
  }

  #open({ url, token }: HttpAddress): HttpMirrorSource {
    const { map, artifact, transport, links } = this.#init;
    const base = new URL(`${url}/v1/artifacts/${artifact}/objects`);
    base.username = "waybill";
    base.password = token;
    return new HttpMirrorSource(base.href, map, { transport, links, plain: true });
  }

  #gone(reason: string): void {
    this.#goneWhy ??= reason;
    // Not from within the request that found it out.
    queueMicrotask(() => {
      for (const listener of this.#onGone) listener(reason);
    });
  }
}

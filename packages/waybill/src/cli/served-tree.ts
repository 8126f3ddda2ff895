// The tree of a push under way, served from this machine: over HTTP to whoever can reach it, and to the peers of the
// room over their links (docs/protocol/arriving.md §4, §7).
import { artifactId } from "@waybill/sdk/artifact";
import { type DirectAddress, type PeerId, messageOf } from "@waybill/sdk/protocol";
import { TreeServer } from "@waybill/sdk/swarm";
import type { RateGate } from "@waybill/sdk/timing";
import { type DataServer, startDataServer } from "../data-server/data-server.ts";
import { pushedTree } from "../data-server/pushed-tree.ts";
import { TreeObjects } from "../data-server/tree-objects.ts";
import type { LiveRoom } from "./live.ts";

export type ServedTreeInit = {
  readonly tree: ConstructorParameters<typeof TreeObjects>[0];
  /** What all bytes of the push pass. */
  readonly gate: RateGate | undefined;
  /** Whether it is served over plain HTTP, too. */
  readonly overHttp: boolean;
  /** Absent, or without direct channels: only over HTTP. */
  readonly live?: LiveRoom | undefined;
  readonly onServed?: (() => void) | undefined;
  /** A reader has all of it. */
  readonly onDone?: (() => void) | undefined;
  /** The room may relay no more, and a reader has no other way to this machine. */
  readonly onBudgetEnd?: (() => void) | undefined;
  readonly note: (text: string) => void;
};

/** Addresses in an announcement; one is the peer's. */
const MAX_HTTP_ADDRESSES = 15;
/** Requests at once: a worker uses eight, and several share what a push has to spare. */
const READERS = 64;
/** A hub that welcomes later than this leaves the peer's address out. */
const WELCOME_MS = 3000;

export class ServedTree implements AsyncDisposable {
  readonly addresses: readonly DirectAddress[];
  readonly #http: DataServer | undefined;
  readonly #peers: TreeServer | undefined;
  readonly #off: () => void;

  private constructor(
    addresses: readonly DirectAddress[],
    http: DataServer | undefined,
    peers: TreeServer | undefined,
    off = () => {},
  ) {
    this.addresses = addresses;
    this.#http = http;
    this.#peers = peers;
    this.#off = off;
  }

  /** Serves by every way there is; what keeps one from working is noted. */
  static async start(init: ServedTreeInit): Promise<ServedTree> {
    const { tree, gate, overHttp, live, note } = init;
    const onServed = () => init.onServed?.();
    const objects = new TreeObjects(tree);
    let http: DataServer | undefined;
    try {
      if (overHttp) {
        const announced = artifactId(tree.manifest);
        const trees = pushedTree(announced, { ...tree, objects });
        http = await startDataServer({ trees, announced, gate, onServed, maxRequests: READERS });
      }
    } catch (error) {
      note(`note: not served from here over HTTP: ${messageOf(error)}`);
    }
    const addresses: DirectAddress[] = [...(http?.addresses ?? [])].slice(0, MAX_HTTP_ADDRESSES);
    const peer = live?.carriesBulk === true ? await welcomed(live) : undefined;
    if (live === undefined || peer === undefined) return new ServedTree(addresses, http, undefined);
    const server = new TreeServer({ links: live.links });
    const onDone = () => init.onDone?.();
    const { offer } = server.offer({ tree: objects, gate, onServed, onDone });
    const off = live.session.on("relay.budget", ({ budget }) => {
      if (budget.exhausted && server.servesRelayed) init.onBudgetEnd?.();
    });
    return new ServedTree([...addresses, { peer, offer }], http, server, off);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#off();
    await this.#peers?.stop();
    await this.#http?.stop();
  }
}

/** Our id in the room, once the hub has told it. */
async function welcomed({ session }: LiveRoom): Promise<PeerId | undefined> {
  const known = session.welcome?.peerId;
  if (known !== undefined) return known;
  const { promise, resolve } = Promise.withResolvers<void>();
  const off = session.on("welcome", () => resolve());
  const timer = setTimeout(resolve, WELCOME_MS);
  await promise;
  off();
  clearTimeout(timer);
  return session.welcome?.peerId;
}

// Two ends of one link in memory: control messages in order, bulk streams with credit, and knobs to break it.
import { type PeerId, WaybillError } from "../../protocol/index.ts";
import { abortReason } from "../../timing/index.ts";
import { Listeners } from "../listeners.ts";
import type { LinkMessage, LinkPath } from "../peer-link.ts";
import type { BulkWriter } from "../bulk/bulk-sender.ts";
import type { TreeLink, TreeStreams } from "./tree-link.ts";

/** What a writer may be ahead of its reader. */
const CREDIT_BYTES = 64 * 1024;

const NEVER = new AbortController().signal;

type Stream = {
  readonly pieces: Uint8Array[];
  bytes: number;
  ended: boolean;
  error: Error | undefined;
  /** Resolved at every change. */
  changed: PromiseWithResolvers<void>;
};

export class LinkPair {
  readonly reader: LinkEnd;
  readonly server: LinkEnd;

  constructor(readerId: PeerId, serverId: PeerId) {
    const [toServer, toReader] = [new Map<number, Stream>(), new Map<number, Stream>()];
    this.reader = new LinkEnd(serverId, toServer, toReader);
    this.server = new LinkEnd(readerId, toReader, toServer);
    this.reader.other = this.server;
    this.server.other = this.reader;
  }

  /** Breaks or mends the bulk path; streams under way end. */
  set bulkWorks(works: boolean) {
    for (const end of [this.reader, this.server]) end.setWorking(works);
  }

  close(): void {
    this.reader.close();
    this.server.close();
  }
}

export class LinkEnd implements TreeLink {
  readonly peerId: PeerId;
  readonly bulk: TreeStreams;
  readonly sent: LinkMessage[] = [];
  /** What becomes of a message to the other side. */
  drops: (message: LinkMessage) => boolean = () => false;
  /** Each piece that the other side is written passes this. */
  alter: (piece: Uint8Array) => Uint8Array = (piece) => piece;
  /** Called before each piece is written. */
  onWrite: () => void = () => undefined;
  path: LinkPath = { kind: "webrtc", candidateType: "host", rttMs: 1 };
  closed = false;
  other: LinkEnd | undefined;
  readonly messages = new Listeners<LinkMessage>();
  readonly #paths = new Listeners<LinkPath>();
  readonly #closes = new Listeners<undefined>();
  readonly #out: Map<number, Stream>;
  readonly #in: Map<number, Stream>;
  #works = true;
  #last = 0;

  constructor(peerId: PeerId, out: Map<number, Stream>, into: Map<number, Stream>) {
    this.peerId = peerId;
    this.#out = out;
    this.#in = into;
    this.bulk = {
      newStreamId: () => (this.#last += 1),
      openStream: (id, { signal = NEVER } = {}) => this.#open(id, signal),
      accept: (id, { signal = NEVER } = {}) => this.#accept(id, signal),
    };
  }

  send(message: LinkMessage): void {
    if (this.closed) throw new WaybillError("unreachable", "the link is closed");
    this.sent.push(message);
    if (this.drops(message)) return;
    const { other } = this;
    queueMicrotask(() => other?.messages.emit(message));
  }

  onMessage(listener: (message: LinkMessage) => void): () => void {
    return this.messages.add(listener);
  }

  onPath(listener: (path: LinkPath) => void): () => void {
    return this.#paths.add(listener);
  }

  onClose(listener: () => void): () => void {
    return this.#closes.add(listener);
  }

  setPath(path: LinkPath): void {
    this.path = path;
    this.#paths.emit(path);
  }

  setWorking(works: boolean): void {
    this.#works = works;
    this.setPath(
      works
        ? { kind: "webrtc", candidateType: "host", rttMs: 1 }
        : { kind: "relay", rttMs: undefined },
    );
    if (works) return;
    for (const stream of this.#in.values()) fail(stream, "the bulk path broke");
  }

  close(): void {
    this.closed = true;
    for (const stream of this.#in.values()) fail(stream, "the link was closed");
    this.#closes.emit(undefined);
  }

  #open(id: number, signal: AbortSignal): BulkWriter {
    const stream = streamOf(this.#out, id);
    const assertOpen = () => {
      if (signal.aborted) throw abortReason(signal);
      if (!this.#works) throw new WaybillError("unreachable", "no bulk path");
      if (stream.error !== undefined) throw stream.error;
    };
    let written = 0;
    return {
      get acknowledgedBytes() {
        return written - stream.bytes;
      },
      write: async (bytes) => {
        this.onWrite();
        assertOpen();
        while (stream.bytes >= CREDIT_BYTES) {
          await Promise.race([stream.changed.promise, aborted(signal)]);
          assertOpen();
        }
        const piece = this.alter(bytes.slice());
        stream.pieces.push(piece);
        stream.bytes += piece.length;
        written += piece.length;
        change(stream);
      },
      end: async () => {
        assertOpen();
        stream.ended = true;
        change(stream);
      },
      abort: (reason) => fail(stream, reason),
    };
  }

  async *#accept(id: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const stream = streamOf(this.#in, id);
    try {
      for (;;) {
        if (signal.aborted) throw abortReason(signal);
        const piece = stream.pieces.shift();
        if (piece !== undefined) {
          stream.bytes -= piece.length;
          change(stream);
          yield piece;
        } else if (stream.error !== undefined) throw stream.error;
        else if (stream.ended) return;
        else await Promise.race([stream.changed.promise, aborted(signal)]);
      }
    } finally {
      fail(stream, "nobody reads any more");
    }
  }
}

function streamOf(streams: Map<number, Stream>, id: number): Stream {
  const known = streams.get(id);
  if (known !== undefined) return known;
  const stream: Stream = {
    pieces: [],
    bytes: 0,
    ended: false,
    error: undefined,
    changed: Promise.withResolvers(),
  };
  streams.set(id, stream);
  return stream;
}

function change(stream: Stream): void {
  const { changed } = stream;
  stream.changed = Promise.withResolvers();
  changed.resolve();
}

function fail(stream: Stream, reason: string): void {
  stream.error ??= new WaybillError("unreachable", reason);
  change(stream);
}

async function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) return;
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
}

/** The links of one end, as its servers see them. */
export function linksOf(...ends: readonly LinkEnd[]) {
  return {
    onMessage: (
      listener: (event: { readonly message: LinkMessage; readonly link: TreeLink }) => void,
    ) => {
      const off = ends.map((link) => link.onMessage((message) => listener({ message, link })));
      return () => {
        for (const one of off) one();
      };
    },
  };
}

// A bound PUB or SUB socket on the loopback interface. Trainers connect to it; each connection is read as fast as
// its messages are taken.
import { type Server, type Socket, createServer } from "node:net";
import { once } from "node:events";
import { WaybillError } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import { Connection, type Fact } from "./connection.ts";
import { encodeMessage } from "./frames.ts";

export type ListenerInit = {
  readonly type: "PUB" | "SUB";
  /** 0: any free one. */
  readonly port: number;
  /** Of a SUB socket. The next message of a connection waits until this one has been taken. */
  readonly onMessage?: (body: Buffer) => void | Promise<void>;
  /** Somebody connected who does not speak ZeroMQ, or stopped to. */
  readonly onRefused?: (error: WaybillError) => void;
};

/** A trainer and its data loaders: more connections than this are nobody's. */
const MAX_CONNECTIONS = 64;
const HOST = "127.0.0.1";

export class Listener {
  readonly #init: ListenerInit;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #subscribed = new Set<Socket>();
  readonly #reading = new Set<Promise<void>>();
  readonly #forAll: Buffer[] = [];
  #port = 0;

  constructor(init: ListenerInit) {
    this.#init = init;
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Binds; throws what `node:net` throws, `EADDRINUSE` above all. */
  async start(): Promise<void> {
    this.#server.listen(this.#init.port, HOST);
    await once(this.#server, "listening");
    const address = this.#server.address();
    this.#port = typeof address === "object" && address !== null ? address.port : 0;
  }

  get port(): number {
    return this.#port;
  }

  /** Whether a subscriber listens now. */
  get heard(): boolean {
    return this.#subscribed.size > 0;
  }

  /** Sends to every subscriber, those that come later included. */
  publish(body: Buffer): void {
    const message = encodeMessage(body);
    this.#forAll.push(message);
    for (const socket of this.#subscribed) socket.write(message);
  }

  /** Resolves when everybody has gone and what they sent has been taken, or after `withinMs`. */
  async drained(withinMs: number): Promise<void> {
    const late = new AbortController();
    await Promise.race([
      Promise.all(this.#reading),
      delay(withinMs, late.signal).catch(() => undefined),
    ]);
    late.abort();
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (this.#server.listening) {
      this.#server.close();
      await once(this.#server, "close");
    }
    await Promise.all(this.#reading);
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    const reading = this.#serve(socket)
      .catch((error: unknown) => {
        // Connections that break are how trainers end.
        if (error instanceof WaybillError) this.#init.onRefused?.(error);
      })
      .finally(() => {
        this.#sockets.delete(socket);
        this.#subscribed.delete(socket);
        this.#reading.delete(reading);
        socket.destroy();
      });
    this.#reading.add(reading);
  }

  async #serve(socket: Socket): Promise<void> {
    const connection = new Connection(this.#init.type);
    for (const bytes of connection.hello()) socket.write(bytes);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      const { send, facts } = connection.receive(chunk);
      for (const bytes of send) socket.write(bytes);
      for (const fact of facts) await this.#take(fact, socket);
    }
  }

  async #take(fact: Fact, socket: Socket): Promise<void> {
    if (fact.type === "message") {
      await this.#init.onMessage?.(fact.body);
      return;
    }
    if (this.#subscribed.has(socket)) return;
    this.#subscribed.add(socket);
    for (const message of this.#forAll) socket.write(message);
  }
}

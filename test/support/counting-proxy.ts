// A TCP proxy that counts what passes through it, both ways: the honest figure for "bytes sent". It can be as slow as a
// far-away store.
import { once } from "node:events";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";

export class CountingProxy implements AsyncDisposable {
  /** Bytes from clients to the target. */
  up = 0;
  /** Bytes from the target to clients. */
  down = 0;
  /** What the target sends passes no faster than this, in bytes a second, all connections together. */
  downBytesPerS = Infinity;
  #freeAtMs = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server;
  readonly #target: () => number;

  /** `target` is asked at each connection, so that a server may move. */
  constructor(target: () => number) {
    this.#target = target;
    this.#server = createServer((client) => this.#carry(client));
  }

  async start(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  #carry(client: Socket): void {
    const target = connect(this.#target(), "127.0.0.1");
    for (const socket of [client, target]) {
      this.#sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        client.destroy();
        target.destroy();
      });
    }
    client.on("data", (data: Buffer) => {
      this.up += data.length;
    });
    client.pipe(target);
    let waits = 0;
    const resume = () => {
      waits -= 1;
      if (waits === 0) target.resume();
    };
    target.on("data", (data: Buffer) => {
      this.down += data.length;
      const isTaken = client.write(data);
      const paceMs = this.#paceMs(data.length);
      if (isTaken && paceMs === 0) return;
      target.pause();
      waits += Number(!isTaken) + Number(paceMs > 0);
      if (!isTaken) client.once("drain", resume);
      if (paceMs > 0) setTimeout(resume, paceMs);
    });
    target.on("end", () => client.end());
  }

  /** How long to wait after so many bytes. */
  #paceMs(bytes: number): number {
    if (this.downBytesPerS === Infinity) return 0;
    const nowMs = performance.now();
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + (bytes * 1000) / this.downBytesPerS;
    return this.#freeAtMs - nowMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

// A TCP proxy that counts what passes through it, both ways: the honest figure for "bytes sent".
import { once } from "node:events";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";

export class CountingProxy implements AsyncDisposable {
  /** Bytes from clients to the target. */
  up = 0;
  /** Bytes from the target to clients. */
  down = 0;
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
    target.on("data", (data: Buffer) => {
      this.down += data.length;
    });
    client.pipe(target);
    target.pipe(client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

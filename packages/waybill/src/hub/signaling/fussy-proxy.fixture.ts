// A proxy as campus and company networks have them: HTTP passes, WebSockets do not, or not for long, and some answers
// get lost on their way.
import { once } from "node:events";
import { type IncomingMessage, type ServerResponse, createServer, request } from "node:http";
import { type AddressInfo, type Socket, connect } from "node:net";

export class FussyProxy implements AsyncDisposable {
  /** WebSockets: refused, cut after so many milliseconds, or let through. */
  webSockets: "refuse" | "pass" | { readonly cutMs: number } = "refuse";
  /** Whether the answer to the n-th request of a path is lost. */
  isLost: (path: string, n: number) => boolean = () => false;
  readonly requests: string[] = [];
  upgrades = 0;
  /** Requests without an answer yet. */
  waiting = 0;
  lost = 0;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((from, to) => this.#forward(from, to));

  constructor(targetUrl: string) {
    const { hostname, port } = new URL(targetUrl);
    this.#target = { host: hostname, port: Number(port) };
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("upgrade", (from, socket: Socket) => this.#upgrade(from, socket));
  }

  async listen(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #forward(from: IncomingMessage, to: ServerResponse): void {
    const path = from.url ?? "";
    this.requests.push(`${from.method} ${path}`);
    this.waiting += 1;
    to.on("close", () => (this.waiting -= 1));
    const isLost = this.isLost(path, this.requests.length);
    const { method, headers } = from;
    const onward = request({ ...this.#target, path, method, headers }, (answer) => {
      if (isLost) {
        this.lost += 1;
        from.socket.destroy();
        return;
      }
      to.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(to);
    });
    onward.on("error", () => to.destroy());
    to.on("close", () => onward.destroy());
    from.pipe(onward);
  }

  #upgrade(from: IncomingMessage, socket: Socket): void {
    this.upgrades += 1;
    if (this.webSockets === "refuse") {
      socket.end("HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    const onward = connect(this.#target);
    this.#sockets.add(onward);
    const end = () => {
      onward.destroy();
      socket.destroy();
    };
    onward.on("error", end).on("close", end);
    socket.on("close", end);
    const lines = [`GET ${from.url ?? ""} HTTP/1.1`];
    for (let i = 0; i < from.rawHeaders.length; i += 2) {
      lines.push(`${from.rawHeaders[i] ?? ""}: ${from.rawHeaders[i + 1] ?? ""}`);
    }
    onward.write(`${lines.join("\r\n")}\r\n\r\n`);
    socket.pipe(onward).pipe(socket);
    if (this.webSockets !== "pass") setTimeout(end, this.webSockets.cutMs).unref();
  }
}

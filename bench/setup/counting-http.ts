// An HTTP proxy that counts requests: how often a client asks the store. Requests keep their Host header, so
// that signatures made for the proxy's address hold.
import { once } from "node:events";
import { type Server, Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

export class CountingHttp implements AsyncDisposable {
  requests = 0;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256 });
  readonly #server: Server;

  /** Passes everything on to this port of this machine. */
  constructor(port: number) {
    this.#server = createServer((incoming, answer) => {
      this.requests += 1;
      const { method, url, headers } = incoming;
      const onward = request({
        host: "127.0.0.1",
        port,
        method,
        path: url,
        headers: { ...headers, connection: "keep-alive" },
        agent: this.#agent,
      });
      onward.on("response", (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
      });
      onward.on("error", () => answer.destroy());
      incoming.on("error", () => onward.destroy());
      incoming.pipe(onward);
    });
  }

  async start(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

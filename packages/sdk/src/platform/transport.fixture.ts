// Servers for tests of the transport: plain bytes, HTTP, TLS with a certificate of their own, proxies, names.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import * as http from "node:http";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GetAnswer } from "./byte-transport.ts";

type Closing = (() => void)[];

/** Starts a server on a free port of `host`; it is closed with `closers`. */
export async function listen(
  server: net.Server,
  closers: Closing,
  host = "127.0.0.1",
): Promise<number> {
  const sockets = new Set<net.Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, resolve);
  });
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return Object(server.address()).port;
}

/** The whole body of an answer, copied. */
export async function bodyOf(answer: GetAnswer): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of answer.body) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

/** Names for tests: each to its addresses, IPv6 before IPv4; any other is not found. */
export function namesOf(table: Readonly<Record<string, readonly string[]>>): net.LookupFunction {
  return (host, options, callback) => {
    const addresses = (table[host] ?? []).map((address) => ({
      address,
      family: net.isIP(address),
    }));
    const [first] = addresses;
    if (first === undefined) {
      const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), {
        code: "ENOTFOUND",
      });
      callback(error, "");
    } else if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  };
}

export type ProxySeen = { method: string; target: string; authorization: string | undefined };

/** An HTTP proxy: CONNECT and absolute-form; every name leads to this machine. */
export function proxyServer(
  seen: ProxySeen[],
  refuse?: (one: ProxySeen) => number | undefined,
): http.Server {
  const note = (request: http.IncomingMessage) => {
    const one = {
      method: request.method ?? "",
      target: request.url ?? "",
      authorization: request.headers["proxy-authorization"],
    };
    seen.push(one);
    return refuse?.(one);
  };
  const server = http.createServer((request, response) => {
    const status = note(request);
    if (status !== undefined) {
      response.writeHead(status).end();
      return;
    }
    const { port, pathname, search } = new URL(request.url ?? "");
    const { method = "GET", headers } = request;
    const onward = http.request({ port, path: pathname + search, method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.headers);
      answer.pipe(response);
    });
    request.pipe(onward);
  });
  server.on("connect", (request, socket, head) => {
    const status = note(request);
    socket.on("error", () => undefined);
    if (status !== undefined) {
      socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    const port = Number(/\d+$/.exec(request.url ?? "")?.[0]);
    const onward = net.connect(port, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    onward.on("error", () => socket.destroy());
  });
  return server;
}

/** A fresh key and certificate for `names`; undefined where openssl is missing. */
export function selfSigned(names: readonly string[]): { key: string; cert: string } | undefined {
  const dir = mkdtempSync(join(tmpdir(), "waybill-tls-"));
  try {
    const alternatives = names.map((name) => `${net.isIP(name) === 0 ? "DNS" : "IP"}:${name}`);
    const options =
      "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test";
    const san = `subjectAltName=${alternatives.join(",")}`;
    const output = ["-addext", san, "-keyout", join(dir, "key"), "-out", join(dir, "cert")];
    const made = spawnSync("openssl", [...options.split(" "), ...output]);
    if (made.status !== 0) return undefined;
    const read = (name: string) => readFileSync(join(dir, name), "utf8");
    return { key: read("key"), cert: read("cert") };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

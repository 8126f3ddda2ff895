// A TURN server (coturn) of one test, on loopback: UDP, with time-limited names. Its relayed addresses are 127.0.0.2's,
// or peers of 127.0.0.1 could reach each other's relayed ports without their own.
import { type ChildProcess, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const SECRET = "of this test alone";

export class TurnServer implements AsyncDisposable {
  /** Shared with a hub that mints credentials. */
  readonly secret = SECRET;
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #port: number;

  private constructor(child: ChildProcess, folder: string, port: number) {
    this.#process = child;
    this.#folder = folder;
    this.#port = port;
  }

  /** Why there can be none here; undefined when there can. */
  static refusal(): string | undefined {
    const found = (process.env["PATH"] ?? "")
      .split(path.delimiter)
      .some((folder) => existsSync(path.join(folder, "turnserver")));
    return found ? undefined : "tests over TURN need turnserver (apt-get install coturn)";
  }

  static async open(): Promise<TurnServer> {
    const port = await freePort();
    const folder = await mkdtemp(path.join(tmpdir(), "waybill-turn-"));
    const flags = [
      "-n",
      "--listening-ip=127.0.0.1",
      `--listening-port=${port}`,
      "--relay-ip=127.0.0.2",
      "--use-auth-secret",
      `--static-auth-secret=${SECRET}`,
      "--realm=waybill.test",
      "--allow-loopback-peers",
      "--no-cli",
      "--no-tls",
      "--no-dtls",
      "--log-file=stdout",
      "--simple-log",
      "--pidfile=/dev/null",
      `--userdb=${path.join(folder, "none")}`,
    ];
    const child = spawn("turnserver", flags, { stdio: ["ignore", "pipe", "inherit"] });
    child.stdout?.resume();
    const server = new TurnServer(child, folder, port);
    await server.#answers();
    return server;
  }

  get url(): string {
    return `turn:127.0.0.1:${this.#port}`;
  }

  /** TURN REST: the name says until when (milliseconds since 1970), its HMAC is the password. */
  serverUntil(endsAtMs: number): { urls: string[]; username: string; credential: string } {
    const username = `${Math.floor(endsAtMs / 1000)}:test`;
    const credential = createHmac("sha1", this.secret).update(username).digest("base64");
    return { urls: [this.url], username, credential };
  }

  /** A STUN binding request is answered as soon as it listens. */
  async #answers(): Promise<void> {
    const socket = createSocket("udp4");
    const answer = once(socket, "message").then(() => true);
    const binding = Buffer.concat([Buffer.from("000100002112a442", "hex"), Buffer.alloc(12, 1)]);
    for (let tries = 0; tries < 100; tries++) {
      socket.send(binding, this.#port, "127.0.0.1");
      if (await Promise.race([answer, sleep(50).then(() => false)])) break;
    }
    socket.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.#process, "exit");
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill("SIGKILL");
      await gone;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  return port;
}

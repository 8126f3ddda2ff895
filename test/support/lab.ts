// A room with everything around it for one test: a hub process, machines with data folders of their own,
// workers. Everything it started ends with it.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import os from "node:os";
import path from "node:path";
import { CountingProxy } from "./counting-proxy.ts";
import { type Line, WaybillProcess, ask } from "./waybill-process.ts";

export const ROOM = "lab";

export class Lab implements AsyncDisposable {
  readonly home: string;
  readonly #processes: WaybillProcess[] = [];
  #hub: WaybillProcess | undefined;
  #hubOptions: readonly string[] = [];
  #hubEnv: NodeJS.ProcessEnv = {};
  #ports: { hub: number; s3: number } | undefined;
  #proxy: { readonly counts: CountingProxy; readonly port: number } | undefined;

  private constructor(home: string) {
    this.home = home;
  }

  /** Starts a hub on free ports and creates the room from the machine `owner`; with a proxy, its clients' bytes are counted. */
  static async open(
    options: {
      counted?: boolean;
      hubOptions?: readonly string[];
      hubEnv?: NodeJS.ProcessEnv;
    } = {},
  ): Promise<Lab> {
    const lab = new Lab(await mkdtemp(path.join(os.tmpdir(), "waybill-lab-")));
    lab.#hubOptions = options.hubOptions ?? [];
    lab.#hubEnv = options.hubEnv ?? {};
    if (options.counted === true) {
      const counts = new CountingProxy(() => lab.#ports?.s3 ?? 0);
      lab.#proxy = { counts, port: await counts.start() };
    }
    await lab.startHub();
    await ask(["room", "create", ROOM], lab.machine("owner"));
    return lab;
  }

  get hub(): WaybillProcess {
    if (this.#hub === undefined) throw new Error("the hub is not running");
    return this.#hub;
  }

  /** The process started last. */
  get lastStarted(): WaybillProcess {
    const last = this.#processes.at(-1);
    if (last === undefined) throw new Error("nothing was started");
    return last;
  }

  get hubUrl(): string {
    return `http://127.0.0.1:${this.#ports?.hub ?? 0}`;
  }

  get s3Endpoint(): string {
    return `http://127.0.0.1:${this.#ports?.s3 ?? 0}`;
  }

  /** Starts the hub, on the same ports as before when it ran already. */
  async startHub(): Promise<Line> {
    const proxy = this.#proxy;
    // Behind a proxy the ready line names the proxy, so the store's own port has to be known before.
    const s3Port = this.#ports?.s3 ?? (proxy === undefined ? 0 : await freePort());
    const args = ["hub", "--port", String(this.#ports?.hub ?? 0), "--s3-port", String(s3Port)];
    if (proxy !== undefined) args.push("--s3-public-endpoint", `http://127.0.0.1:${proxy.port}`);
    const all = [...args, ...this.#hubOptions, "--data", this.path("server")];
    const hub = this.start(all, "server", { env: this.#hubEnv });
    const ready = await hub.next();
    hub.drain();
    this.#hub = hub;
    const s3 = ready["s3"] as Line;
    this.#ports = {
      hub: portOf(ready["url"]),
      s3: s3Port === 0 ? portOf(s3["endpoint"]) : s3Port,
    };
    return ready;
  }

  /** SIGKILLs the hub and starts it again on the same data. */
  async crashHub(): Promise<void> {
    await this.hub.kill();
    await this.startHub();
  }

  /** What clients and store exchanged so far. */
  get counts(): CountingProxy {
    if (this.#proxy === undefined) throw new Error("this lab has no proxy");
    return this.#proxy.counts;
  }

  path(...parts: string[]): string {
    return path.join(this.home, ...parts);
  }

  /** Settings of a machine of this name. */
  machine(name: string, extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
    return {
      WAYBILL_DATA: this.path(name),
      ...(this.#ports === undefined ? {} : { WAYBILL_HUB: this.hubUrl, WAYBILL_ROOM: ROOM }),
      ...extra,
    };
  }

  /** Starts a command on a machine. */
  start(
    args: readonly string[],
    machine: string,
    options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
  ): WaybillProcess {
    const started = new WaybillProcess(args, this.machine(machine, options.env), options);
    this.#processes.push(started);
    return started;
  }

  /** Starts a worker that joins by invite; its id. */
  async startWorker(
    machine: string,
    args: readonly string[] = [],
    env: NodeJS.ProcessEnv = {},
  ): Promise<{ worker: WaybillProcess; workerId: string }> {
    const { code } = await this.ask(["room", "invite", "--role", "worker"]);
    const worker = this.start(
      ["worker", "--join", String(code), "--name", machine, ...args],
      machine,
      { env },
    );
    const ready = await worker.next();
    worker.drain();
    return { worker, workerId: String(ready["workerId"]) };
  }

  /** Starts a regional cache that joins by invite; it serves on loopback, at any free port. */
  async startCacheProxy(
    machine: string,
    args: readonly string[] = [],
    env: NodeJS.ProcessEnv = {},
  ): Promise<{ proxy: WaybillProcess; url: string }> {
    const { code } = await this.ask(["room", "invite", "--role", "worker"]);
    const own = ["--join", String(code), "--data-host", "127.0.0.1", "--data-port", "0"];
    const proxy = this.start(["cache-proxy", ...own, "--name", machine, ...args], machine, { env });
    const [ready] = (await proxy.until(({ type }) => type === "ready")).slice(-1);
    const [url] = (ready?.["urls"] ?? []) as string[];
    return { proxy, url: String(url) };
  }

  /** Runs a command on a machine (the owner's by default) that must succeed; its last line. */
  ask(args: readonly string[], machine = "owner", options: { cwd?: string } = {}): Promise<Line> {
    return ask(args, this.machine(machine), options);
  }

  /** Writes a file below the lab's folder; its path. */
  async write(name: string, content: string | Uint8Array): Promise<string> {
    const file = this.path(name);
    await writeFile(file, content);
    return file;
  }

  /** What a file below the lab's folder holds. */
  read(name: string): Promise<string> {
    return readFile(this.path(name), "utf8");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#processes.toReversed()) await one.stop();
    await this.#proxy?.counts[Symbol.asyncDispose]();
    await rm(this.home, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

function portOf(url: unknown): number {
  return Number(new URL(String(url)).port);
}

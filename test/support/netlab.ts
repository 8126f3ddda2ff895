// Emulated networks on one machine, for tests and benchmarks: hosts are network namespaces, links are TUN
// pairs with a forwarder between them. Everything ends with the lab, also what a killed process left.
//
//   await using lab = await NetLab.open({ links: [{ from: "client", to: "server", rttMs: 50, rateMbit: 100 }] });
//   lab.exec("server", ["python3", "-m", "http.server"]);   // reached from "client" at lab.address("server")
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import { AgeLimit } from "./netlab/age-limit.ts";
import { programPath, run } from "./netlab/commands.ts";
import {
  addNamespace,
  makeFolder,
  namePrefix,
  namespaceFile,
  removeNamespace,
  sweep,
} from "./netlab/namespaces.ts";
import { type Shape, Wan, compileWan } from "./netlab/wan.ts";

export type Congestion = "cubic" | "bbr" | "reno";

export type LinkInit = {
  /** Names of the hosts at its ends; they come into being with their first link. */
  readonly from: string;
  readonly to: string;
  /** Both ways together, in milliseconds. */
  readonly rttMs?: number;
  /** Each way; `up` is from `from` to `to`. */
  readonly rateMbit?: number | { readonly up: number; readonly down: number };
  /** Random loss each way, in percent. */
  readonly lossPercent?: number;
  /** What the link's buffer holds; 100 ms or the round trip, whatever is longer, by default. */
  readonly queueMs?: number;
  /** Of both ends' TCP; the kernel's default when left out. */
  readonly congestion?: Congestion;
};

export type Link = {
  readonly wan: Wan;
  readonly from: string;
  readonly to: string;
  /** Sets both directions anew. */
  shape(shape: Omit<LinkInit, "from" | "to" | "congestion">): Promise<void>;
};

const TOOLS = ["ip", "nsenter", "ss", "cc"] as const;

export class NetLab implements AsyncDisposable {
  readonly links: readonly Link[];
  readonly #prefix: string;
  readonly #addresses: ReadonlyMap<string, string>;
  readonly #resources: AsyncDisposableStack;
  #limits = new Set<AgeLimit>();

  private constructor(init: {
    prefix: string;
    links: readonly Link[];
    addresses: ReadonlyMap<string, string>;
    resources: AsyncDisposableStack;
  }) {
    this.#prefix = init.prefix;
    this.links = init.links;
    this.#addresses = init.addresses;
    this.#resources = init.resources;
  }

  /** Why this machine cannot do it, in one line; `undefined` when it can. */
  static async refusal(): Promise<string | undefined> {
    if (process.platform !== "linux") return "network namespaces need Linux";
    if (process.getuid?.() !== 0) return "network namespaces need root";
    const missing = TOOLS.filter((tool) => programPath(tool) === undefined);
    if (missing.length > 0) return `emulated networks need ${missing.join(", ")}`;
    if (!existsSync("/dev/net/tun")) return "emulated networks need /dev/net/tun";
    const probe = `${namePrefix()}probe`;
    try {
      await addNamespace(probe);
      return undefined;
    } catch (error) {
      return `network namespaces are not permitted here: ${(error as Error).message}`;
    } finally {
      await removeNamespace(probe);
    }
  }

  /** Builds hosts and links. Throws in one line where that is not permitted. `seed` decides which packets are lost. */
  static async open(init: { links: readonly LinkInit[]; seed?: number }): Promise<NetLab> {
    const refused = await NetLab.refusal();
    if (refused !== undefined) throw new Error(refused);
    await sweep();
    await using building = new AsyncDisposableStack();
    const folder = await makeFolder();
    building.defer(() => rm(folder, { recursive: true, force: true }));
    const binary = path.join(folder, "wan");
    await compileWan(binary);
    const prefix = namePrefix();
    for (const host of new Set(init.links.flatMap(({ from, to }) => [from, to]))) {
      await addNamespace(prefix + host);
      building.defer(() => removeNamespace(prefix + host));
    }
    const addresses = new Map<string, string>();
    const links: Link[] = [];
    for (const [index, link] of init.links.entries()) {
      const device = `wan${index}`;
      const wan = await Wan.open({
        binary,
        from: { file: namespaceFile(prefix + link.from), device },
        to: { file: namespaceFile(prefix + link.to), device },
        seed: (init.seed ?? 1) + index,
      });
      building.use(wan);
      await addressLink(prefix, link, index);
      addresses.set(`${link.from} ${link.to}`, addressOf(index, "from"));
      addresses.set(`${link.to} ${link.from}`, addressOf(index, "to"));
      if (!addresses.has(link.from)) addresses.set(link.from, addressOf(index, "from"));
      if (!addresses.has(link.to)) addresses.set(link.to, addressOf(index, "to"));
      const shape: Link["shape"] = (next) => shapeBoth(wan, next);
      await shape(link);
      links.push({ wan, from: link.from, to: link.to, shape });
    }
    return new NetLab({ prefix, links, addresses, resources: building.move() });
  }

  /** IPv4 address of a host on its first link, or on the one it shares with `neighbour`. */
  address(host: string, neighbour?: string): string {
    const key = neighbour === undefined ? host : `${host} ${neighbour}`;
    const found = this.#addresses.get(key);
    if (found === undefined) throw new Error(`no link of this lab has an address for ${key}`);
    return found;
  }

  /** The link that ends at this host (the first one). */
  link(host: string): Link {
    const found = this.links.find((one) => one.to === host || one.from === host);
    if (found === undefined) throw new Error(`no link of this lab ends at ${host}`);
    return found;
  }

  /** The words that run a command on a host. */
  command(host: string, argv: readonly string[] = []): string[] {
    return ["nsenter", `--net=${namespaceFile(this.#prefix + host)}`, "--", ...argv];
  }

  /** Starts a command on a host; it ends with the lab at the latest. */
  exec(host: string, argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const [program = "", ...args] = this.command(host, argv);
    return spawn(program, args, options);
  }

  /** Runs a command on a host that must succeed; what it prints. */
  run(host: string, argv: readonly string[]): Promise<string> {
    const [program = "", ...args] = this.command(host, argv);
    return run(program, ...args);
  }

  /** From now on, resets every TCP connection of a host that gets this old; ends with what it gives, or the lab. */
  limitConnectionAge(host: string, maxAgeMs: number): AgeLimit {
    const limit = new AgeLimit(this.command(host), maxAgeMs);
    this.#limits.add(limit);
    return limit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const limit of this.#limits) await limit[Symbol.asyncDispose]();
    await this.#resources.disposeAsync();
  }
}

function addressOf(link: number, end: "from" | "to"): string {
  return `10.88.${link}.${end === "from" ? 1 : 2}`;
}

/** IPv4 and IPv6 (fd88:<link>::1 and ::2) on both ends. */
async function addressLink(prefix: string, link: LinkInit, index: number): Promise<void> {
  const device = `wan${index}`;
  for (const end of ["from", "to"] as const) {
    const netns = prefix + link[end];
    const [own, other] = [addressOf(index, end), addressOf(index, end === "from" ? "to" : "from")];
    const six = (address: string) => `fd88:${index.toString(16)}::${address.split(".")[3]}`;
    await run("ip", "-n", netns, "addr", "add", own, "peer", other, "dev", device);
    await run("ip", "-n", netns, "link", "set", device, "up", "txqueuelen", "10000");
    await run("ip", "-n", netns, "-6", "addr", "add", `${six(own)}/64`, "dev", device, "nodad");
    if (link.congestion === undefined) continue;
    const routes = ["-n", netns, "route", "replace", other, "dev", device, "src", own];
    await run("ip", ...routes, "congctl", link.congestion);
  }
}

async function shapeBoth(wan: Wan, link: Parameters<Link["shape"]>[0]): Promise<void> {
  const rate = link.rateMbit;
  const common: Shape = {
    delayMs: (link.rttMs ?? 0) / 2,
    lossPercent: link.lossPercent ?? 0,
    queueMs: link.queueMs ?? Math.max(100, link.rttMs ?? 0),
  };
  for (const way of ["up", "down"] as const) {
    const rateMbit = typeof rate === "object" ? rate[way] : rate;
    await wan.shape(way, rateMbit === undefined ? common : { ...common, rateMbit });
  }
}

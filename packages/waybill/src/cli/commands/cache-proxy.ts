// waybill cache-proxy: a regional cache, so that a cluster fetches an artifact once however many of its machines want it.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { Command, Option } from "commander";
import { type Credential, HubClient } from "@waybill/sdk/hub-client";
import { type RoomId, WaybillError, isRetryable, messageOf } from "@waybill/sdk/protocol";
import type { CacheProxyEvent } from "../../cache-proxy/cache-proxy.ts";
import type { Upstream } from "../../cache-proxy/origin.ts";
import type { ProxyStats } from "../../cache-proxy/proxy-stats.ts";
import type { DiskAmount } from "../../worker/cache/disk-amount.ts";
import { type CommonOptions, Context } from "../context.ts";
import { peekToken, saveRoom } from "../credentials.ts";
import { address, diskAmount, filePath, port, withRoom } from "../options.ts";
import { formatBytes, formatRate, formatSeconds } from "../render/format.ts";
import { showDaemonEvent } from "../render/daemon-event.ts";
import type { Runner } from "../runner.ts";

type ProxyOptions = CommonOptions & {
  readonly upstream?: string;
  readonly upstreamTokenFile?: string;
  readonly join?: string;
  readonly name: string;
  readonly cacheDir?: string;
  readonly cacheSize?: DiskAmount;
  readonly cacheFree?: DiskAmount;
  readonly dataPort?: number;
  readonly dataHost?: string;
};

const TOKEN = /^[0-9a-f]{64}$/;

export function cacheProxyCommand(run: Runner): Command {
  return withRoom(new Command("cache-proxy"))
    .option(
      "--upstream <url>",
      "where artifacts come from: the hub, or where --hub names that, another cache proxy or data server",
      address,
    )
    .addOption(
      new Option(
        "--upstream-token-file <file>",
        "token of that data server, when it is not one of the room (WAYBILL_UPSTREAM_TOKEN)",
      ).argParser(filePath),
    )
    .option("--join <code>", "join with this invite code first")
    .option("--name <name>", "how others see this cache", hostname())
    .option(
      "--cache-dir <dir>",
      "where artifacts are kept, in a folder for each room (default: below --data)",
      filePath,
    )
    .option(
      "--cache-size <size>",
      "most it may take (100G or 40%; default: half of its disk)",
      diskAmount,
    )
    .option("--cache-free <size>", "left free on its disk (20G or 10%; default: 256M)", diskAmount)
    .option("--data-port <n>", "port it serves at (8780; any free one when that is taken)", port)
    .option("--data-host <address>", "IP address it serves at (default: all of this machine)")
    .description("fetch each artifact of a room once, and serve it to all the machines near here")
    .addHelpText(
      "after",
      `
Workers and pulls of the room find it through the hub and ask it before the store. It may be killed at any time:
what it was fetching goes on where it was, and its readers go to the store meanwhile.

`,
    )
    .action(run<[], ProxyOptions>(serve));
}

async function serve(given: Context, _: [], options: ProxyOptions): Promise<number> {
  const context = withUpstreamHub(given, options);
  const { signal } = context;
  // Loaded here, so that the other commands start without it.
  const { startCacheProxy } = await import("../../cache-proxy/cache-proxy.ts");
  const name = options.name.slice(0, 64);
  const { room, credential } = await credentialOf(context, { join: options.join, name });
  // It outlives any outage of its hub.
  const hub = new HubClient({
    url: context.hubUrl,
    credential,
    retryForMs: Number.POSITIVE_INFINITY,
  });
  await checkAccess(context, credential, room);
  const ended = Promise.withResolvers<void>();
  let refused: Error | undefined;
  signal.addEventListener("abort", () => ended.resolve(), { once: true });
  const proxy = await startCacheProxy({
    hub,
    room,
    name,
    dir: path.resolve(
      options.cacheDir ?? path.join(context.dataDir, "cache-proxy"),
      // All of it is served, so it is one room's.
      `${room}-${createHash("sha256").update(context.hubUrl).digest("hex").slice(0, 8)}`,
    ),
    maxBytes: options.cacheSize,
    minFreeBytes: options.cacheFree,
    upstream: await upstreamOf(context, options, { hub, room }),
    listen: { host: options.dataHost, port: options.dataPort },
    onToken: async (token) => {
      if (process.env["WAYBILL_KEY"] !== undefined || process.env["WAYBILL_TOKEN"] !== undefined)
        return;
      const { role } = peekToken(token);
      await saveRoom(context.dataDir, { hub: context.hubUrl, room, role, token });
    },
    onEvent: (event) => {
      report(context, event, room);
      if (event.type !== "refused") return;
      refused = event.error;
      ended.resolve();
    },
  });
  try {
    if (!signal.aborted) await ended.promise;
  } finally {
    summarize(context, proxy.stats);
    await proxy.stop();
  }
  if (refused !== undefined) throw refused;
  return 0;
}

/** Where no hub is named besides, the upstream is it. */
function withUpstreamHub(context: Context, { upstream, ...options }: ProxyOptions): Context {
  const isNamed = (options.hub ?? process.env["WAYBILL_HUB"] ?? "") !== "";
  if (upstream === undefined || isNamed) return context;
  return new Context({ ...options, hub: upstream }, context.signal);
}

/** The upstream where it is not the hub: its token is a file's, the environment's, or what the hub tells of it. */
async function upstreamOf(
  context: Context,
  { upstream, upstreamTokenFile: file }: ProxyOptions,
  { hub, room }: { readonly hub: HubClient; readonly room: RoomId },
): Promise<Upstream | undefined> {
  if (upstream === undefined || upstream === context.hubUrl) return undefined;
  const given = file === undefined ? process.env["WAYBILL_UPSTREAM_TOKEN"] : await tokenIn(file);
  if (given !== undefined && given !== "") {
    if (TOKEN.test(given)) return { url: upstream, token: async () => given };
    throw new WaybillError("invalid_request", "the upstream's token is 64 hex digits");
  }
  const { origin } = new URL(upstream);
  return {
    url: upstream,
    token: async (artifact) => {
      const { holders } = await hub.call(
        "showHolders",
        { params: { room, artifact }, query: {} },
        { signal: context.signal, retryForMs: 0 },
      );
      const addresses = holders.flatMap((holder) => holder.addresses);
      return addresses.find(({ url }) => new URL(url).origin === origin)?.token;
    },
  };
}

async function tokenIn(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    throw new WaybillError("local_io", `cannot read ${file}`, { cause });
  }
}

/** Any role that may read the room's artifacts and be seen in it. */
async function credentialOf(
  context: Context,
  { join, name }: { readonly join: string | undefined; readonly name: string },
): Promise<{ room: RoomId; credential: Credential }> {
  if (join !== undefined) {
    const { room, role, token, identity } = await context.join(join, name);
    if (role !== "viewer") return { room, credential: { token, identity } };
    throw new WaybillError("forbidden", "the code is for a viewer", {
      hint: "ask for one with `waybill room invite --role worker`",
    });
  }
  const pod = await context.podCredential();
  if (pod !== undefined) return pod;
  const room = await context.room();
  try {
    return { room, credential: await context.workerCredential(room, name) };
  } catch (error) {
    // Only a member's token is here: that will do.
    if (!(error instanceof WaybillError) || error.code !== "forbidden") throw error;
    return { room, credential: await context.credential(room) };
  }
}

/** One call that fails at once when token or room are not as they should be. A hub that is away is waited for. */
async function checkAccess(context: Context, credential: Credential, room: RoomId): Promise<void> {
  const hub = new HubClient({ url: context.hubUrl, credential, retryForMs: 3000 });
  try {
    await hub.call("showRoom", { params: { room } }, { signal: context.signal });
  } catch (error) {
    if (!isRetryable(error)) throw error;
    context.output.note(`${messageOf(error)}; going on without the hub until it is back`);
  }
}

function report({ output }: Context, event: CacheProxyEvent, room: RoomId): void {
  switch (event.type) {
    case "ready":
      output.record(event);
      output.note(`cache ${event.peerId} serves room ${room} at ${event.urls.join(" ")}`);
      return;
    case "refused":
      return;
    case "online":
    case "offline":
    case "log":
      showDaemonEvent(output, event);
      return;
    case "fill.started":
      output.record(event);
      return;
    case "fill.whole": {
      const { artifact, bytes, seconds, sources } = event;
      output.record(event);
      const from = Object.entries(sources).map(([kind, size]) => `${kind} ${formatBytes(size)}`);
      output.note(
        `${artifact.slice(0, 12)} is here: ${formatBytes(bytes)} in ${formatSeconds(seconds)}, ${formatRate(bytes, seconds)} (${from.join(", ")})`,
      );
      return;
    }
    case "fill.failed": {
      const message = messageOf(event.error);
      output.record({ ...event, error: message });
      output.note(`${event.artifact.slice(0, 12)} cannot be fetched: ${message}`);
      return;
    }
    case "fill.stopped":
      output.record(event);
      output.note(`${event.artifact.slice(0, 12)} is not fetched on: nobody reads it`);
  }
}

/** What it was good for. */
function summarize({ output }: Context, stats: ProxyStats): void {
  const { hits, shared, misses, fills, originBytes, servedBytes } = stats;
  output.record({ type: "summary", ...stats });
  output.note(
    `served ${formatBytes(servedBytes)} from ${formatBytes(originBytes)} of the origin: ${fills} fetched; of the requests ${hits} found it here, ${shared} shared a fetch, ${misses} began one`,
  );
}

// A hub for a benchmark, on its own store or on a neutral one, and rooms in it: a room a round, because what
// a room already holds is not sent again.
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { cleanEnvironment } from "../../test/support/waybill-process.ts";
import { measure } from "./measure.ts";
import { type Scope, start } from "./scope.ts";
import { HERE, type Host, type Store, freePort } from "./store.ts";

/** What is measured: the built command. `WAYBILL_BENCH_BIN` names that of another build. */
export const WAYBILL =
  process.env["WAYBILL_BENCH_BIN"] ??
  fileURLToPath(new URL("../../packages/waybill/bin/waybill.js", import.meta.url));

const ROOMS_BUCKET = "waybill-bench";
const DEFAULT_BUCKETS = ["waybill-uploads", "waybill-rooms"];

export type BenchHub = {
  readonly url: string;
  /** Of its process. */
  readonly pid: number;
  /** The store behind it, as S3 tools reach it. */
  readonly store: Store;
  /** The hub's own buckets. */
  readonly buckets: readonly string[];
  /** Settings of its clients; the machine's own are left out. */
  readonly env: NodeJS.ProcessEnv;
  /** Makes a room; `at` is where the command runs. */
  readonly createRoom: (name: string, at?: Host) => Promise<void>;
};

export type BenchHubInit = {
  /** Tells hubs of one benchmark apart. */
  readonly name: string;
  /** The embedded store when left out. */
  readonly store?: Store;
  readonly host?: Host;
  /** What clients reach hub and store by, when something stands in between. */
  readonly proxied?: (ports: { hub: number; s3: number }) => Promise<{ url: string; s3: string }>;
};

/** Starts a hub and waits until it is ready. */
export async function startBenchHub(scope: Scope, init: BenchHubInit): Promise<BenchHub> {
  const { name, store, host = HERE, proxied } = init;
  const ports = host === HERE ? [await freePort(), await freePort()] : [8700, 8701];
  const [port = 0, s3Port = 0] = ports;
  const s3Target = store === undefined ? s3Port : Number(new URL(store.endpoint).port);
  const seen = await proxied?.({ hub: port, s3: s3Target });
  const argv = [process.execPath, WAYBILL, "hub", "--host", host.address, "--port", String(port)];
  if (store === undefined) argv.push("--s3-port", String(s3Port));
  else argv.push("--s3-endpoint", store.endpoint, "--s3-bucket", `${ROOMS_BUCKET}-${name}`);
  if (seen !== undefined) argv.push("--s3-public-endpoint", seen.s3);
  argv.push("--data", scope.path(`hub-${name}`), "--json");
  const child = start(host.command(argv), {
    env: cleanEnvironment(store?.env ?? {}),
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (child.stdout === null) throw new Error("no output of the hub to read");
  const lines = createInterface({ input: child.stdout });
  const [first] = (await Promise.race([
    once(lines, "line"),
    once(lines, "close").then(() => Promise.reject(new Error("the hub ended before it was ready"))),
  ])) as [string];
  lines.on("line", () => undefined);
  const ready = JSON.parse(first) as {
    url: string;
    s3: { endpoint: string; credentialsFile?: string };
  };
  const data = scope.path(`client-${name}`);
  await mkdir(data, { recursive: true });
  const url = seen?.url ?? ready.url;
  const env = cleanEnvironment({ WAYBILL_HUB: url, WAYBILL_DATA: data });
  return {
    url,
    pid: child.pid ?? 0,
    store: store ?? {
      endpoint: `http://${host.address}:${s3Port}`,
      env: await credentialsIn(ready.s3.credentialsFile),
    },
    buckets:
      store === undefined
        ? DEFAULT_BUCKETS
        : [`${ROOMS_BUCKET}-${name}`, `${ROOMS_BUCKET}-${name}-uploads`],
    env,
    createRoom: async (room, at = HERE) => {
      await measure(at.command([process.execPath, WAYBILL, "room", "create", room]), env);
    },
  };
}

async function credentialsIn(file: string | undefined): Promise<NodeJS.ProcessEnv> {
  const text = file === undefined ? "" : await readFile(file, "utf8");
  const value = (key: string) => new RegExp(`^${key}\\s*=\\s*(\\S+)`, "m").exec(text)?.[1] ?? "";
  return {
    AWS_ACCESS_KEY_ID: value("aws_access_key_id"),
    AWS_SECRET_ACCESS_KEY: value("aws_secret_access_key"),
    AWS_DEFAULT_REGION: "us-east-1",
    AWS_REGION: "us-east-1",
  };
}

// The S3 server under the peers and under our hub: a neutral one that none of them wrote, or the hub's own.
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { S3Client } from "@aws-sdk/client-s3";
import { run } from "../../test/support/netlab/commands.ts";
import { cleanEnvironment } from "../../test/support/waybill-process.ts";
import type { StoreKind } from "./options.ts";
import { type Scope, start } from "./scope.ts";
import { requireTool } from "./tools.ts";

export type Store = {
  readonly endpoint: string;
  /** Credentials and region, as every S3 tool reads them. */
  readonly env: NodeJS.ProcessEnv;
};

/** Where servers and commands run: this machine, or a host of an emulated network. */
export type Host = {
  readonly address: string;
  readonly command: (argv: readonly string[]) => string[];
};

export const HERE: Host = { address: "127.0.0.1", command: (argv) => [...argv] };

const KEY = "waybillbench";
const SECRET = "waybillbench-secret";

/** Starts a neutral store and waits until it listens. */
export async function startStore(
  scope: Scope,
  kind: Exclude<StoreKind, "embedded">,
  host: Host = HERE,
  name = "store",
): Promise<Store> {
  const program = await requireTool(kind);
  const folder = scope.path(`store-${kind}-${name}`);
  await mkdir(folder, { recursive: true });
  const port = host === HERE ? await freePort() : 9000;
  const listen = `${host.address}:${port}`;
  const argv = {
    versitygw: [program, "--port", listen, "--keep-alive", "--quiet", "posix", folder],
    minio: [program, "server", "--quiet", "--anonymous", "--address", listen, folder],
  }[kind];
  const child = start(host.command(argv), {
    env: cleanEnvironment({
      ROOT_ACCESS_KEY: KEY,
      ROOT_SECRET_KEY: SECRET,
      MINIO_ROOT_USER: KEY,
      MINIO_ROOT_PASSWORD: SECRET,
      MINIO_BROWSER: "off",
    }),
    stdio: "ignore",
  });
  await listening(host, port, () => child.exitCode === null);
  return {
    endpoint: `http://${listen}`,
    env: {
      AWS_ACCESS_KEY_ID: KEY,
      AWS_SECRET_ACCESS_KEY: SECRET,
      AWS_DEFAULT_REGION: "us-east-1",
      AWS_REGION: "us-east-1",
    },
  };
}

/** A client of the store; what it signs needs no connection. */
export function s3Client({ endpoint, env }: Store): S3Client {
  return new S3Client({
    endpoint,
    region: "us-east-1",
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    credentials: {
      accessKeyId: env["AWS_ACCESS_KEY_ID"] ?? "",
      secretAccessKey: env["AWS_SECRET_ACCESS_KEY"] ?? "",
    },
  });
}

const ADMIN = fileURLToPath(new URL("../peers/admin.ts", import.meta.url));

async function admin(store: Store, at: Host, ...args: readonly string[]): Promise<void> {
  const [verb = "", ...rest] = args;
  const argv = at.command([process.execPath, ADMIN, verb, store.endpoint, ...rest]);
  const env = Object.entries(cleanEnvironment(store.env)).map(([key, value]) => `${key}=${value}`);
  await run("env", "-i", ...env, ...argv);
}

/** Makes a bucket; `at` is where the store is reached. */
export function createBucket(store: Store, bucket: string, at: Host = HERE): Promise<void> {
  return admin(store, at, "create", bucket);
}

/** Removes every object below a prefix. */
export function removeObjects(
  store: Store,
  bucket: string,
  prefix: string,
  at: Host = HERE,
): Promise<void> {
  return admin(store, at, "remove", bucket, prefix);
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Waits until somebody accepts connections there. */
export async function listening(host: Host, port: number, alive: () => boolean): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (!alive()) break;
    if (await accepts(host, port)) return;
    await sleep(100);
  }
  throw new Error(`nothing listens at ${host.address}:${port}`);
}

async function accepts(host: Host, port: number): Promise<boolean> {
  if (host !== HERE) {
    const script = `require("net").connect(${port},"${host.address}").on("connect",()=>process.exit(0)).on("error",()=>process.exit(1))`;
    const child = start(host.command([process.execPath, "-e", script]), { stdio: "ignore" });
    const [code] = (await once(child, "exit")) as [number | null];
    return code === 0;
  }
  const socket = connect(port, host.address);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

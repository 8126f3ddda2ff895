// waybill hub: HTTP API, signaling and, by default, the embedded object store, in one process.
import path from "node:path";
import { Command, Option } from "commander";
import { readFile } from "node:fs/promises";
import {
  type IcePolicy,
  IceServer,
  WaybillError,
  decodeJson,
  messageOf,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { EmbeddedStorage, ExternalStorage, HubInit } from "../../hub/hub.ts";
import type { LogFields, LogLevel } from "../../hub/log.ts";
import type { Context } from "../context.ts";
import { address, byteSize, collect, duration, port, withCommon } from "../options.ts";
import type { Runner } from "../runner.ts";

type HubOptions = {
  readonly host: string;
  readonly port: number;
  readonly s3Port?: number;
  readonly publicUrl?: string;
  readonly s3PublicEndpoint?: string;
  readonly s3Endpoint?: string;
  readonly s3Bucket?: string;
  readonly s3UploadsBucket?: string;
  readonly s3EqualParts?: boolean;
  readonly s3Region: string;
  readonly adminToken?: string;
  readonly iceServer?: string[];
  readonly iceServers?: string;
  readonly icePolicy?: IcePolicy;
  readonly turnSecretFile?: string;
  readonly turnTtl?: number;
  readonly relayBudget?: number;
  readonly roomIdle?: number;
  readonly lease?: number;
  readonly uploadTtl?: number;
  readonly urlLife?: number;
  readonly trustProxy?: boolean;
  readonly verbose?: boolean;
};

const DEFAULT_S3_PORT = 8701;

export function hubCommand(run: Runner): Command {
  return withCommon(new Command("hub"))
    .option("--host <address>", "address to listen on; 0.0.0.0 for all", "127.0.0.1")
    .option("--port <n>", "port of API and signaling; 0 picks free ones for both", port, 8700)
    .option("--s3-port <n>", "port of the embedded object store (default: 8701)", port)
    .option("--public-url <url>", "what others reach this hub by, behind a proxy", address)
    .option(
      "--s3-public-endpoint <url>",
      "what clients reach the store by, when it is another address than the hub's",
      address,
    )
    .option(
      "--s3-endpoint <url>",
      "use this S3 store instead of the embedded one (AWS credentials from the environment)",
      address,
    )
    .option(
      "--s3-bucket <name>",
      "bucket for the rooms on another store; AWS's own when no endpoint is given",
    )
    .option(
      "--s3-uploads-bucket <name>",
      "bucket for uploads on another store (default: the rooms' with -uploads)",
    )
    .option(
      "--s3-equal-parts",
      "the other store joins only parts of one size (known of AWS and R2, and tried out on others)",
    )
    .option("--s3-region <region>", "region of the other store", "us-east-1")
    .addOption(
      new Option("--admin-token <token>", "only who knows it may create rooms").env(
        "WAYBILL_ADMIN_TOKEN",
      ),
    )
    .option(
      "--ice-server <url>",
      "STUN or TURN server for peers, like stun:host:3478 or turn:host:3478?transport=udp; repeatable",
      collect,
    )
    .addOption(
      new Option(
        "--ice-servers <json>",
        'servers with credentials of their own, as [{"urls":["turn:…"],"username":"…","credential":"…"}]',
      ).env("WAYBILL_ICE_SERVERS"),
    )
    .option(
      "--turn-secret-file <file>",
      "secret shared with the TURN servers, for credentials made for each peer (WAYBILL_TURN_SECRET)",
    )
    .option("--turn-ttl <time>", "how long such a credential is good (1h; at least 10m)", duration)
    .addOption(
      new Option(
        "--ice-policy <policy>",
        "relay: peers meet at TURN servers only, where the room's owner said nothing (all)",
      ).choices(["all", "relay"]),
    )
    .option(
      "--relay-budget <size>",
      "bytes a room's peers may relay on one day, where its owner said nothing (any)",
      byteSize,
    )
    .option(
      "--room-idle <time>",
      "end a room's presence after this time without activity (2h)",
      duration,
    )
    .option(
      "--lease <time>",
      "a worker that was not heard of for this long loses its job (60s)",
      duration,
    )
    .option(
      "--upload-ttl <time>",
      "remove uploads that are not kept after this time (24h)",
      duration,
    )
    .option("--url-life <time>", "how long signed URLs are good; clients sign anew (1h)", duration)
    .option("--trust-proxy", "believe X-Forwarded-For of the proxy in front")
    .option("--verbose", "log refused requests too")
    .description("run a hub: API, signaling and an S3-compatible object store")
    .addHelpText(
      "after",
      `
Everything the hub knows is in the object store; it may be killed and started again at any time. With another
store, keep its secret too (DATA/hub/hub-secret, or WAYBILL_HUB_SECRET): it signs the rooms' tokens.

`,
    )
    .action(run<[], HubOptions>(serve));
}

async function serve(context: Context, _args: [], options: HubOptions): Promise<void> {
  const { output, signal } = context;
  // The ready line comes first, whatever the start has to say.
  let early: (() => void)[] | undefined = [];
  const write = (time: string, level: LogLevel, message: string, fields: LogFields) => {
    output.record({ ...fields, type: "log", time, level, message });
    const facts = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => ` ${key}=${String(value)}`);
    output.note(`${time} ${level} ${message}${facts.join("")}`);
  };
  const log = (level: LogLevel, message: string, fields: LogFields = {}) => {
    if (level === "debug" && options.verbose !== true) return;
    const time = new Date().toISOString();
    if (early === undefined) write(time, level, message, fields);
    else early.push(() => write(time, level, message, fields));
  };
  const release = () => {
    for (const one of early ?? []) one();
    early = undefined;
  };
  const buckets = bucketsOf(options);
  const ice = await iceOf(options);
  // Loaded here, so that the other commands start without the server's dependencies.
  const { createHub } = await import("../../hub/hub.ts");
  await using hub = createHub({
    dataDir: path.join(context.dataDir, "hub"),
    host: options.host,
    port: options.port,
    storage: storageOf(options),
    ...buckets,
    ...(options.publicUrl === undefined ? {} : { publicUrl: options.publicUrl }),
    ...(options.s3PublicEndpoint === undefined
      ? {}
      : { s3PublicEndpoint: options.s3PublicEndpoint }),
    ...(options.adminToken === undefined ? {} : { adminToken: options.adminToken }),
    ...ice,
    ...(options.roomIdle === undefined ? {} : { roomIdleMs: options.roomIdle }),
    ...(options.lease === undefined ? {} : { leaseMs: options.lease }),
    ...(options.uploadTtl === undefined ? {} : { uploadTtlMs: options.uploadTtl }),
    ...(options.urlLife === undefined ? {} : { presignSeconds: urlSeconds(options.urlLife) }),
    trustProxy: options.trustProxy === true,
    log,
  });
  const { url, s3 } = await hub.start().catch((error: unknown) => {
    release();
    throw error;
  });
  output.record({ type: "ready", url, s3 });
  output.line(`hub     ${url}`);
  output.line(`store   ${s3.endpoint} (buckets ${s3.uploadsBucket}, ${s3.roomsBucket})`);
  if (s3.credentialsFile !== undefined)
    output.line(`        S3 tools: AWS_SHARED_CREDENTIALS_FILE=${s3.credentialsFile}`);
  output.line("next    waybill room create NAME");
  release();
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
  log("info", "stopping: requests under way may end");
}

function storageOf(options: HubOptions): EmbeddedStorage | ExternalStorage {
  if (options.s3Endpoint !== undefined && options.s3Bucket === undefined) {
    throw new WaybillError("invalid_request", "--s3-endpoint needs --s3-bucket");
  }
  if (options.s3Bucket === undefined) {
    const s3Port = options.s3Port ?? (options.port === 0 ? 0 : DEFAULT_S3_PORT);
    return { kind: "embedded", port: s3Port, ownThread: true };
  }
  const endpoint = options.s3Endpoint === undefined ? {} : { endpoint: options.s3Endpoint };
  const equal = options.s3EqualParts === undefined ? {} : { equalParts: options.s3EqualParts };
  return { kind: "external", ...endpoint, ...equal, region: options.s3Region };
}

function bucketsOf(options: HubOptions): { roomsBucket?: string; uploadsBucket?: string } {
  if (options.s3Bucket === undefined) return {};
  const uploadsBucket = options.s3UploadsBucket ?? `${options.s3Bucket}-uploads`;
  if (uploadsBucket === options.s3Bucket) {
    throw new WaybillError(
      "invalid_request",
      "rooms and uploads need two buckets: uploads expire by a rule on theirs",
    );
  }
  return { roomsBucket: options.s3Bucket, uploadsBucket };
}

type IceInit = Pick<HubInit, "iceServers" | "turn" | "icePolicy" | "relayBudgetBytes">;

async function iceOf(options: HubOptions): Promise<IceInit> {
  const { iceServer = [], iceServers: json, icePolicy, turnTtl, relayBudget } = options;
  const secret = await turnSecret(options.turnSecretFile);
  const { DEFAULT_TURN_TTL_MS, iceServersOf } = await import("../../hub/ice/ice-servers.ts");
  const given =
    json === undefined ? [] : decodeJson(v.array(IceServer), json, "--ice-servers", 64 * 1024);
  return {
    iceServers: [...iceServersOf(iceServer, secret !== undefined), ...given],
    ...(secret === undefined ? {} : { turn: { secret, ttlMs: turnTtl ?? DEFAULT_TURN_TTL_MS } }),
    ...(icePolicy === undefined ? {} : { icePolicy }),
    ...(relayBudget === undefined ? {} : { relayBudgetBytes: relayBudget }),
  };
}

/** Never from the command line: every user of the machine can read that. */
async function turnSecret(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return process.env["WAYBILL_TURN_SECRET"];
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new WaybillError("local_io", `cannot read ${file}: ${messageOf(cause)}`, { cause });
  });
  const secret = text.trim();
  if (secret !== "") return secret;
  throw new WaybillError("invalid_request", `the TURN secret in ${file} is empty`);
}

/** S3's own limit is 7 days. */
function urlSeconds(lifeMs: number): number {
  const seconds = Math.ceil(lifeMs / 1000);
  if (seconds >= 1 && seconds <= 604_800) return seconds;
  throw new WaybillError("invalid_request", "--url-life is at least 1s and at most 7d");
}

// The commands of one comparison: ours first, then the peers, pushing to and pulling from the same store.
import { once } from "node:events";
import { appendFile, mkdir, rm, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { GetObjectCommand, PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { cleanEnvironment } from "../../test/support/waybill-process.ts";
import { type BenchHub, WAYBILL } from "../setup/hub.ts";
import type { Contender } from "../setup/measure.ts";
import { type Scope, start } from "../setup/scope.ts";
import { HERE, type Host, type Store, removeObjects } from "../setup/store.ts";
import { optionalTool, requireTool } from "../setup/tools.ts";

/** The bucket that peers use; it has to exist. */
export const PEER_BUCKET = "bench";
const LIB_STORAGE = fileURLToPath(new URL("lib-storage.ts", import.meta.url));
const TUS = fileURLToPath(new URL("tus.ts", import.meta.url));
const HOUR_SECONDS = 3600;

export type Transfers = {
  readonly scope: Scope;
  readonly hub: BenchHub;
  readonly store: Store;
  /** Signs URLs for peers that have no credentials. */
  readonly s3: S3Client;
  readonly file: string;
  /** Where the commands run. */
  readonly at: Host;
  /** Where a tus server may listen; none is compared when left out. */
  readonly tusHost?: Host;
  readonly only: readonly string[];
};

type Words = readonly string[];

/** What both directions need to know of the peers. */
export type Peers = {
  readonly env: NodeJS.ProcessEnv;
  readonly tuned: NodeJS.ProcessEnv;
  readonly aws: (...args: Words) => string[];
  readonly rclone: (...args: Words) => string[];
  readonly s5cmd: ((...args: Words) => string[]) | undefined;
};

/** Larger parts and more of them at once: what the tools' own pages advise for fast links. */
const AWS_TUNED = `[default]
s3 =
  max_concurrent_requests = 20
  multipart_threshold = 16MB
  multipart_chunksize = 16MB
`;
export const RCLONE_TUNED = [
  "--s3-upload-concurrency=8",
  "--s3-chunk-size=16M",
  "--multi-thread-streams=8",
  "--multi-thread-cutoff=16M",
  "--transfers=16",
  "--checkers=16",
] as const;

/** Programs and settings of the S3 peers. */
export async function s3Peers(scope: Scope, store: Store, at: Host = HERE): Promise<Peers> {
  const [aws, rclone, s5cmd] = [
    await requireTool("aws"),
    await requireTool("rclone"),
    await optionalTool("s5cmd"),
  ];
  const config = scope.path("aws-tuned");
  await writeFile(config, AWS_TUNED);
  const env: NodeJS.ProcessEnv = {
    ...cleanEnvironment(store.env),
    AWS_CONFIG_FILE: scope.path("aws-default"),
    RCLONE_CONFIG: scope.path("rclone.conf"),
    RCLONE_CONFIG_PEER_TYPE: "s3",
    RCLONE_CONFIG_PEER_PROVIDER: "Other",
    RCLONE_CONFIG_PEER_ENV_AUTH: "true",
    RCLONE_CONFIG_PEER_ENDPOINT: store.endpoint,
  };
  await appendFile(scope.path("aws-default"), "");
  await appendFile(scope.path("rclone.conf"), "");
  return {
    env,
    tuned: { ...env, AWS_CONFIG_FILE: config },
    aws: (...args) => at.command([aws, "--endpoint-url", store.endpoint, "s3", ...args]),
    rclone: (...args) => at.command([rclone, ...args]),
    s5cmd:
      s5cmd === undefined
        ? undefined
        : (...args) => at.command([s5cmd, "--endpoint-url", store.endpoint, ...args]),
  };
}

const quiet = "--only-show-errors";

/** Everybody who can put the file into the store. */
export async function pushers(transfers: Transfers): Promise<Contender[]> {
  const { scope, store, s3, file, at } = transfers;
  const { env, tuned, aws, rclone, s5cmd } = await s3Peers(scope, store, at);
  const curl = await optionalTool("curl");
  const key = (name: string, round: number) => `${name}-${round}`;
  const to = (name: string, round: number) => `s3://${PEER_BUCKET}/${key(name, round)}`;
  const remove = (name: string) => async (round: number) => {
    await removeObjects(store, PEER_BUCKET, key(name, round), at);
  };
  const links = new Map<number, string>();
  const contenders: (Contender | undefined)[] = [
    waybillPush(transfers),
    {
      name: "aws s3 cp",
      env,
      command: (round) => aws("cp", quiet, file, to("aws", round)),
      clean: remove("aws"),
    },
    {
      name: "aws s3 cp, tuned",
      env: tuned,
      command: (round) => aws("cp", quiet, file, to("tuned", round)),
      clean: remove("tuned"),
    },
    {
      name: "rclone, tuned",
      env,
      command: (round) =>
        rclone("copyto", ...RCLONE_TUNED, file, `peer:${PEER_BUCKET}/${key("rclone", round)}`),
      clean: remove("rclone"),
    },
    s5cmd && {
      name: "s5cmd",
      env,
      command: (round) => s5cmd("cp", file, to("s5cmd", round)),
      clean: remove("s5cmd"),
    },
    {
      name: "lib-storage",
      env,
      command: (round) =>
        at.command([
          process.execPath,
          LIB_STORAGE,
          "put",
          store.endpoint,
          PEER_BUCKET,
          key("lib", round),
          file,
        ]),
      clean: remove("lib"),
    },
    curl === undefined
      ? undefined
      : {
          name: "curl PUT",
          prepare: async (round) => {
            const put = new PutObjectCommand({ Bucket: PEER_BUCKET, Key: key("curl", round) });
            links.set(round, await getSignedUrl(s3, put, { expiresIn: HOUR_SECONDS }));
          },
          command: (round) =>
            at.command([curl, "-sS", "--fail", "-T", file, links.get(round) ?? ""]),
          clean: remove("curl"),
        },
    await tusPush(transfers),
  ];
  return chosen(contenders, transfers.only);
}

/** The words that push a file into a room. */
export function pushCommand(file: string, room: string, name = "bench"): string[] {
  return [process.execPath, WAYBILL, "push", file, "--name", name, "--room", room, "--json"];
}

/** The words that pull it into a folder. */
export function pullCommand(name: string, folder: string, room: string): string[] {
  return [process.execPath, WAYBILL, "pull", name, folder, "--room", room, "--json"];
}

/** Eight connections; goes on with what an earlier run left. */
export function aria2Command(aria2: string, file: string, url: string): string[] {
  const place = ["--dir=/", `--out=${file.slice(1)}`];
  return [
    aria2,
    "--quiet",
    "--no-conf",
    "-c",
    "-x8",
    "-s8",
    "--file-allocation=none",
    ...place,
    url,
  ];
}

/** Pushes into a room of its own each round: what a room holds is not sent again. */
export function waybillPush(
  { hub, file, at }: Pick<Transfers, "hub" | "file" | "at">,
  extra: readonly string[] = [],
  name = "waybill push",
): Contender {
  const room = (round: number) => `${name.replaceAll(/[^a-z]+/g, "-")}-${round}`;
  return {
    name,
    env: hub.env,
    prepare: (round) => hub.createRoom(room(round), at),
    command: (round) => at.command([...pushCommand(file, room(round)), ...extra]),
    clean: async (round) => {
      for (const bucket of hub.buckets)
        await removeObjects(hub.store, bucket, `${room(round)}/`, at);
    },
  };
}

async function tusPush(transfers: Transfers): Promise<Contender | undefined> {
  const { scope, file, at, tusHost } = transfers;
  const cache = tusHost === undefined ? undefined : await optionalTool("tus");
  if (tusHost === undefined || cache === undefined) return undefined;
  const url = await startTus(scope, tusHost, cache);
  const folder = tusFolder(scope);
  return {
    name: "tus",
    command: () => at.command([process.execPath, TUS, "put", cache, url, file]),
    clean: async () => {
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder);
    },
  };
}

export function tusFolder(scope: Scope): string {
  return scope.path("tus-files");
}

/** Starts a tus server on a folder of its own; the URL of its files. */
export async function startTus(scope: Scope, host: Host, cache: string): Promise<string> {
  await mkdir(tusFolder(scope), { recursive: true });
  const child = start(
    host.command([process.execPath, TUS, "serve", cache, host.address, tusFolder(scope)]),
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  if (child.stdout === null) throw new Error("no output of the tus server to read");
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  return (JSON.parse(line) as { url: string }).url;
}

/** The words that upload a file by tus; with `state` a further run goes on where the first stopped. */
export function tusPutCommand(cache: string, url: string, file: string, state: string): string[] {
  return [process.execPath, TUS, "put", cache, url, file, state];
}

/**
 * Everybody who can get the file. It has to be in the store as `source` and in the room `pull` under the name
 * `bench`.
 */
export async function pullers(transfers: Transfers, source: string): Promise<Contender[]> {
  const { scope, hub, store, s3, at } = transfers;
  const { env, tuned, aws, rclone, s5cmd } = await s3Peers(scope, store, at);
  const [curl, aria2] = [await optionalTool("curl"), await optionalTool("aria2c")];
  const from = `s3://${PEER_BUCKET}/${source}`;
  const get = new GetObjectCommand({ Bucket: PEER_BUCKET, Key: source });
  const link = () => getSignedUrl(s3, get, { expiresIn: HOUR_SECONDS });
  const into = (name: string) => scope.path(`pulled-${name.replaceAll(/[^a-z0-9]+/g, "-")}`);
  const clean = (name: string) => () => rm(into(name), { recursive: true, force: true });
  let url = "";
  const prepare = async () => {
    url = await link();
  };
  const contenders: (Contender | undefined)[] = [
    {
      name: "waybill pull",
      env: hub.env,
      command: () => at.command(pullCommand("bench", into("waybill pull"), "pull")),
    },
    { name: "aws s3 cp", env, command: () => aws("cp", quiet, from, into("aws s3 cp")) },
    {
      name: "aws s3 cp, tuned",
      env: tuned,
      command: () => aws("cp", quiet, from, into("aws s3 cp, tuned")),
    },
    {
      name: "rclone, tuned",
      env,
      command: () =>
        rclone("copyto", ...RCLONE_TUNED, `peer:${PEER_BUCKET}/${source}`, into("rclone, tuned")),
    },
    s5cmd && { name: "s5cmd", env, command: () => s5cmd("cp", from, into("s5cmd")) },
    {
      name: "lib-storage",
      env,
      command: () =>
        at.command([
          process.execPath,
          LIB_STORAGE,
          "get",
          store.endpoint,
          PEER_BUCKET,
          source,
          into("lib-storage"),
        ]),
    },
    curl === undefined
      ? undefined
      : {
          name: "curl GET",
          prepare,
          command: () => at.command([curl, "-sS", "--fail", "-o", into("curl GET"), url]),
        },
    aria2 === undefined
      ? undefined
      : {
          name: "aria2",
          prepare,
          command: () => at.command(aria2Command(aria2, into("aria2"), url)),
        },
  ];
  return chosen(
    contenders.map((one) => one && { ...one, clean: clean(one.name) }),
    transfers.only,
  );
}

/** Ours and those whose names hold one of the words. */
function chosen(contenders: readonly (Contender | undefined)[], only: Words): Contender[] {
  return contenders
    .filter((one) => one !== undefined)
    .filter(
      ({ name }) =>
        only.length === 0 || name.startsWith("waybill") || only.some((word) => name.includes(word)),
    );
}

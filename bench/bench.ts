// npm run bench: pushes and pulls one file through the embedded store beside `aws s3 cp` and rclone on the
// same store, in turn, and prints medians and ratios. `--write` puts the table into docs/performance.md.
import { spawn } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, mkdtemp, open, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { CreateBucketCommand, DeleteObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { cleanEnvironment } from "../test/support/waybill-process.ts";
import { formatBytes, table } from "../packages/waybill/src/cli/render/format.ts";
import { type Contender, type Sample, compare, median, medianRatio, measure } from "./measure.ts";
import { markdownTable, writeSection } from "./page.ts";

const BIN = fileURLToPath(new URL("../packages/waybill/bin/waybill.js", import.meta.url));
const argument = (name: string, fallback: number) => {
  const at = process.argv.indexOf(`--${name}`);
  return at === -1 ? fallback : Number(process.argv[at + 1]);
};
const bytes = argument("mib", 1024) * 1024 * 1024;
const rounds = argument("rounds", 5);
const home = await mkdtemp(
  path.join(process.env["WAYBILL_BENCH_DIR"] ?? os.tmpdir(), "waybill-bench-"),
);

type Hub = {
  readonly url: string;
  readonly endpoint: string;
  readonly credentialsFile: string;
  stop(): Promise<void>;
};

async function startHub(): Promise<Hub> {
  const child = spawn(
    process.execPath,
    [BIN, "hub", "--port", "0", "--data", path.join(home, "server"), "--json"],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const lines = createInterface({ input: child.stdout });
  const [first] = (await once(lines, "line")) as [string];
  const ready = JSON.parse(first) as {
    url: string;
    s3: { endpoint: string; credentialsFile: string };
  };
  return {
    url: ready.url,
    endpoint: ready.s3.endpoint,
    credentialsFile: ready.s3.credentialsFile,
    stop: async () => {
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

/** A file of random bytes: nothing can compress or deduplicate it. */
async function writeRandomFile(file: string): Promise<void> {
  const block = new Uint8Array(8 * 1024 * 1024);
  await using handle = await open(file, "w");
  for (let written = 0; written < bytes; written += block.length) {
    randomFillSync(block);
    await handle.write(block, 0, Math.min(block.length, bytes - written));
  }
}

async function readThrough(file: string): Promise<void> {
  for await (const _ of createReadStream(file, { highWaterMark: 8 * 1024 * 1024 }));
}

type Setup = {
  readonly file: string;
  readonly hub: Hub;
  readonly s3: S3Client;
  readonly env: NodeJS.ProcessEnv;
};

function pushers({ file, hub, s3, env }: Setup): Contender[] {
  const remove = (key: string) => s3.send(new DeleteObjectCommand({ Bucket: "bench", Key: key }));
  return [
    {
      name: "waybill push",
      env,
      command: (round) => [
        process.execPath,
        BIN,
        "push",
        file,
        "--name",
        `bench-${round}`,
        "--room",
        "bench",
        "--json",
      ],
    },
    {
      name: "aws s3 cp",
      env,
      command: (round) => [
        "aws",
        "--endpoint-url",
        hub.endpoint,
        "s3",
        "cp",
        "--only-show-errors",
        file,
        `s3://bench/aws-${round}`,
      ],
      clean: async (round) => {
        if (round > 0) await remove(`aws-${round}`);
      },
    },
    {
      name: "rclone copyto",
      env,
      command: (round) => ["rclone", "copyto", file, `peer:bench/rclone-${round}`],
      clean: async (round) => {
        if (round > 0) await remove(`rclone-${round}`);
      },
    },
  ];
}

function pullers({ hub, env }: Setup): Contender[] {
  const into = (name: string, round: number) => path.join(home, `${name}-${round}`);
  const clean = (name: string) => (round: number) =>
    rm(into(name, round), { recursive: true, force: true });
  return [
    {
      name: "waybill pull",
      env,
      command: (round) => [
        process.execPath,
        BIN,
        "pull",
        "bench-1",
        into("waybill", round),
        "--room",
        "bench",
        "--json",
      ],
      clean: clean("waybill"),
    },
    {
      name: "aws s3 cp",
      env,
      command: (round) => [
        "aws",
        "--endpoint-url",
        hub.endpoint,
        "s3",
        "cp",
        "--only-show-errors",
        "s3://bench/aws-0",
        into("aws", round),
      ],
      clean: clean("aws"),
    },
    {
      name: "rclone copyto",
      env,
      command: (round) => ["rclone", "copyto", "peer:bench/rclone-0", into("rclone", round)],
      clean: clean("rclone"),
    },
  ];
}

function rowsOf(samples: Map<string, Sample[]>, ours: string): string[][] {
  const own = samples.get(ours) ?? [];
  return [...samples].map(([name, runs]) => {
    const wall = median(runs.map((run) => run.wallSeconds));
    return [
      name,
      wall.toFixed(2),
      Math.round(bytes / wall / 1e6).toString(),
      median(runs.map((run) => run.cpuSeconds)).toFixed(2),
      formatBytes(Math.max(...runs.map((run) => run.peakRssBytes))),
      name === ours ? "1" : medianRatio(runs, own, (run) => run.wallSeconds).toFixed(2),
      name === ours ? "1" : medianRatio(runs, own, (run) => run.cpuSeconds).toFixed(2),
    ];
  });
}

const HEAD = ["command", "wall s", "MB/s", "CPU s", "peak RSS", "wall ÷ ours", "CPU ÷ ours"];

try {
  for (const tool of ["aws", "rclone", "time"]) {
    if (
      !(process.env["PATH"] ?? "").split(":").some((folder) => existsSync(path.join(folder, tool)))
    ) {
      throw new Error(
        `the benchmark needs ${tool} (apt-get install ${tool === "aws" ? "awscli" : tool})`,
      );
    }
  }
  const file = path.join(home, "random.bin");
  await mkdir(path.join(home, "client"));
  await writeRandomFile(file);
  await readThrough(file);
  const hub = await startHub();
  const env: NodeJS.ProcessEnv = {
    ...cleanEnvironment({}),
    WAYBILL_HUB: hub.url,
    WAYBILL_DATA: path.join(home, "client"),
    AWS_SHARED_CREDENTIALS_FILE: hub.credentialsFile,
    AWS_DEFAULT_REGION: "us-east-1",
    RCLONE_CONFIG_PEER_TYPE: "s3",
    RCLONE_CONFIG_PEER_PROVIDER: "Other",
    RCLONE_CONFIG_PEER_ENV_AUTH: "true",
    RCLONE_CONFIG_PEER_ENDPOINT: hub.endpoint,
  };
  process.env["AWS_SHARED_CREDENTIALS_FILE"] = hub.credentialsFile;
  const s3 = new S3Client({ endpoint: hub.endpoint, region: "us-east-1", forcePathStyle: true });
  await s3.send(new CreateBucketCommand({ Bucket: "bench" }));
  await measure([process.execPath, BIN, "room", "create", "bench"], env);
  const setup = { file, hub, s3, env };
  const size = formatBytes(bytes);
  const sections = new Map<string, string[][]>();
  sections.set(`Push ${size}`, rowsOf(await compare(pushers(setup), rounds), "waybill push"));
  sections.set(`Pull ${size}`, rowsOf(await compare(pullers(setup), rounds), "waybill pull"));
  for (const [title, rows] of sections) console.log(`\n${title}\n${table([HEAD, ...rows])}`);
  if (process.argv.includes("--write")) {
    const parts = [...sections].map(
      ([title, rows]) => `### ${title}\n\n${markdownTable([HEAD, ...rows])}`,
    );
    await writeSection("bench", parts.join("\n\n"));
  }
  s3.destroy();
  await hub.stop();
} finally {
  await rm(home, { recursive: true, force: true });
}

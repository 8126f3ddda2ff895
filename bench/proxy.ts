// npm run bench:proxy: many machines start the same model at once behind one uplink: through a regional cache, beside nginx as
// a caching proxy of the same store, and beside no cache at all. Bytes of the uplink are counted by a TCP proxy before the store.
import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { holdersOf, storeUrlOf } from "../test/support/holders.ts";
import { Lab } from "../test/support/lab.ts";
import { peakRssBytes } from "../test/support/memory.ts";
import { digestOf, writeRandomFile } from "../test/support/random-file.ts";
import { cleanEnvironment } from "../test/support/waybill-process.ts";
import { MIB } from "./setup/data.ts";
import { WAYBILL } from "./setup/hub.ts";
import { median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { type Scope, inScope, start, stop } from "./setup/scope.ts";
import { freePort } from "./setup/store.ts";

const options = readOptions({ mib: 500, rounds: 3, extra: ["readers", "link"] });
const bytes = options.mib * MIB;
const readers = options.extra("readers", 50);
/** MiB a second of the uplink: a gigabit. */
const link = options.extra("link", 119);
const NGINX = "/usr/sbin/nginx";
const TICKS_PER_S = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

type Run = {
  readonly wallS: number;
  /** Until half of the readers had their first byte; not known of whole pulls. */
  readonly firstByteS: number | undefined;
  readonly originShare: number;
  /** Of the cache's own processes; none without a cache. */
  readonly cpuS: number;
  readonly peakRss: number;
};

type Model = { readonly lab: Lab; readonly artifact: string; readonly digest: string };

/** What holds the cache, by its processes. */
type Cache = { readonly pids: () => Promise<readonly number[]>; readonly end: () => Promise<void> };

/** A reader and what it says of its first byte. */
type Reader = () => Promise<number | undefined>;

async function timed({ lab }: Model, { pids, end }: Cache, all: readonly Reader[]): Promise<Run> {
  lab.counts.down = 0;
  const before = await cpuSeconds(await pids());
  const startMs = performance.now();
  const first = await Promise.all(all.map(async (read) => read()));
  const wallS = (performance.now() - startMs) / 1000;
  const own = await pids();
  const cpuS = (await cpuSeconds(own)) - before;
  const peaks = await Promise.all(own.map(async (pid) => peakRssBytes(pid)));
  await end();
  const known = first.filter((seconds) => seconds !== undefined);
  return {
    wallS,
    firstByteS: known.length === 0 ? undefined : median(known),
    originShare: lab.counts.down / bytes,
    cpuS,
    peakRss: peaks.reduce((sum, one) => sum + one, 0),
  };
}

/** User and system time of processes, in seconds. */
async function cpuSeconds(pids: readonly number[]): Promise<number> {
  let ticks = 0;
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks / TICKS_PER_S;
}

async function ended(child: ChildProcess): Promise<string> {
  let output = "";
  child.stdout?.on("data", (data: Buffer) => (output += data.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`a reader failed (${code}): ${output.slice(-2000)}`);
  return output;
}

/** `waybill pull` in a process of its own, onto the disk. */
function pullers({ lab }: Model): Reader[] {
  return Array.from({ length: readers }, (_, at) => async () => {
    const words = ["pull", "model", lab.path("pulled", String(at)), "--json"];
    const env = cleanEnvironment(lab.machine("owner"));
    const stdio = ["ignore", "pipe", "inherit"] as const;
    await ended(start([process.execPath, WAYBILL, ...words], { env, stdio: [...stdio] }));
    return undefined;
  });
}

/** `curl` into nothing. */
function curls(url: string, config: readonly string[] = []): Reader[] {
  return Array.from({ length: readers }, () => async () => {
    const words = ["-sSf", ...config, "-o", "/dev/null", "-w", "%{time_starttransfer}", url];
    const stdio = ["ignore", "pipe", "inherit"] as const;
    return Number(await ended(start(["curl", ...words], { stdio: [...stdio] })));
  });
}

async function cacheProxy({ lab }: Model, round: number): Promise<Cache> {
  const { proxy } = await lab.startCacheProxy(`region-${round}`);
  proxy.drain();
  return {
    pids: async () => [proxy.child.pid ?? 0],
    end: async () => {
      await proxy.stop();
      await rm(lab.path(`region-${round}`), { recursive: true, force: true });
    },
  };
}

/** One fetch of an object however many ask, kept on the disk. */
async function nginx(scope: Scope, target: string): Promise<Cache & { readonly url: string }> {
  const folder = scope.path(`nginx-${Math.random()}`);
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const { host } = new URL(target);
  await writeFile(
    `${folder}/nginx.conf`,
    `daemon off; user root; worker_processes 2; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/temp;
  fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  proxy_cache_path ${folder}/cache levels=1:2 keys_zone=models:10m max_size=20g use_temp_path=off;
  server {
    listen 127.0.0.1:${port};
    location = /weights.bin {
      proxy_pass ${target}; proxy_set_header Host ${host}; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache models; proxy_cache_key weights; proxy_cache_valid 200 1h; proxy_ignore_headers Cache-Control Expires;
      proxy_cache_lock on; proxy_cache_lock_timeout 600s; proxy_cache_lock_age 600s; proxy_max_temp_file_size 0;
    }
  }
}
`,
  );
  const child = start([NGINX, "-p", folder, "-c", `${folder}/nginx.conf`], { stdio: "inherit" });
  const url = `http://127.0.0.1:${port}/weights.bin`;
  for (let tries = 0; tries < 100 && !existsSync(`${folder}/pid`); tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    url,
    pids: async () => {
      const pid = child.pid ?? 0;
      const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
      return [pid, ...text.trim().split(" ").map(Number)];
    },
    end: async () => {
      await stop(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const NO_CACHE: Cache = { pids: async () => [], end: async () => undefined };

const ways: {
  readonly name: string;
  readonly run: (model: Model, round: number, scope: Scope) => Promise<Run>;
}[] = [
  {
    name: "waybill pull, through waybill cache-proxy",
    run: async (model, round) => {
      const { lab, digest } = model;
      const cache = await cacheProxy(model, round);
      const run = await timed(model, cache, pullers(model));
      for (const name of (await readdir(lab.path("pulled"))).slice(0, 3)) {
        if ((await digestOf(lab.path("pulled", name, "weights.bin"))) !== digest)
          throw new Error("wrong bytes");
      }
      await rm(lab.path("pulled"), { recursive: true });
      return run;
    },
  },
  {
    name: "curl, through waybill cache-proxy",
    run: async (model, round) => {
      const cache = await cacheProxy(model, round);
      const [holder] = await holdersOf(model.lab, model.artifact);
      const { url = "", token = "" } = holder?.addresses[0] ?? {};
      const config = model.lab.path("curlrc");
      await writeFile(config, `header = "Authorization: Bearer ${token}"\n`);
      const object = `${url}/v1/artifacts/${model.artifact}/objects/weights.bin`;
      return timed(model, cache, curls(object, ["-K", config]));
    },
  },
  ...(existsSync(NGINX)
    ? [
        {
          name: "curl, through nginx (proxy_cache_lock)",
          run: async (model: Model, _: number, scope: Scope) => {
            const target = await storeUrlOf(model.lab, model.artifact, "weights.bin");
            const cache = await nginx(scope, target);
            return timed(model, cache, curls(cache.url));
          },
        },
      ]
    : []),
  {
    name: "curl, from the store",
    run: async (model) =>
      timed(model, NO_CACHE, curls(await storeUrlOf(model.lab, model.artifact, "weights.bin"))),
  },
];

await inScope(async (scope) => {
  if (!existsSync(NGINX)) note("skipped: nginx is not installed (apt-get install nginx-light)");
  const lab = scope.use(await Lab.open({ counted: true }));
  await mkdir(lab.path("model"));
  const digest = await writeRandomFile(lab.path("model", "weights.bin"), bytes);
  const pushed = await lab.ask(["push", lab.path("model"), "--name", "model"]);
  const model = { lab, artifact: String(pushed["artifact"]), digest };
  lab.counts.downBytesPerS = link * MIB;
  const found = new Map<string, Run[]>();
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const { name, run } of ways) {
      if (options.only.length > 0 && !options.only.some((word) => name.includes(word))) continue;
      const one = await run(model, round, scope);
      found.set(name, [...(found.get(name) ?? []), one]);
      note(`${name}, round ${round}: ${JSON.stringify(one)}`);
    }
  }
  const rows = [...found].map(([name, runs]) => {
    const mid = (of: (run: Run) => number | undefined) =>
      median(runs.map((run) => of(run) ?? Number.NaN));
    const first = mid((run) => run.firstByteS);
    const hasCache = mid((run) => run.peakRss) > 0;
    return [
      name,
      mid((run) => run.originShare).toFixed(3),
      Math.max(...runs.map((run) => run.originShare)).toFixed(3),
      mid((run) => run.wallS).toFixed(1),
      Number.isNaN(first) ? "–" : first.toFixed(2),
      hasCache ? mid((run) => run.cpuS).toFixed(1) : "–",
      hasCache ? formatBytes(Math.max(...runs.map((run) => run.peakRss))) : "–",
    ];
  });
  const head = [
    "readers",
    "uplink bytes ÷ size",
    "the same, worst round",
    "wall s",
    "first byte s (median reader)",
    "CPU s of the cache",
    "peak RSS of the cache",
  ];
  await report("proxy", options, [
    {
      title: `${readers} readers of one ${options.mib} MiB file at once behind an uplink of ${link} MiB/s, ${options.rounds} rounds`,
      rows: [head, ...rows],
      notes: [
        "Readers are processes of the same machine as cache and store. `waybill pull` verifies every shard and writes its copy to the disk; `curl` throws the bytes away.",
        "Uplink bytes are all that the store sent, overhead included. nginx's CPU and memory are those of all its processes.",
      ],
      data: [...found],
    },
  ]);
});

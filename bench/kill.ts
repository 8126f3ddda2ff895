// npm run bench:kill: SIGKILL after 60 % of what is to be moved, again after 60 % of what was left, then a run to
// the end. Counted by a proxy on the wire, with all overhead: how many bytes one file cost.
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { once } from "node:events";
import { GetObjectCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { CountingProxy } from "../test/support/counting-proxy.ts";
import { digestOf } from "../test/support/random-file.ts";
import {
  PEER_BUCKET,
  RCLONE_TUNED,
  aria2Command,
  pullCommand,
  pushCommand,
  s3Peers,
  startTus,
  tusPutCommand,
} from "./peers/commands.ts";
import { MIB, writeRandom } from "./setup/data.ts";
import { startBenchHub } from "./setup/hub.ts";
import { measure, median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { type Scope, inScope, signalGroup, start } from "./setup/scope.ts";
import { HERE, createBucket, s3Client, startStore } from "./setup/store.ts";
import { optionalTool } from "./setup/tools.ts";

const options = readOptions({ mib: 1024, rounds: 5 });
const bytes = options.mib * MIB;
const KILL_AT = 0.6;

type Mover = {
  readonly name: string;
  readonly way: "up" | "down";
  readonly command: (round: number) => readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Goes on where it stopped; others begin again. */
  readonly resumes: boolean;
  readonly prepare?: (round: number) => Promise<void>;
  readonly check?: (round: number) => Promise<void>;
};

async function countedProxy(scope: Scope, target: () => number): Promise<[CountingProxy, number]> {
  const proxy = scope.use(new CountingProxy(target));
  return [proxy, await proxy.start()];
}

/** Bytes on the wire for one file, two kills included. */
async function cost(mover: Mover, round: number, moved: () => number): Promise<number> {
  await mover.prepare?.(round);
  const before = moved();
  let left = bytes;
  for (let kills = 0; kills < 2; kills++) {
    const child = start(mover.command(round), {
      env: mover.env ?? process.env,
      stdio: "ignore",
    });
    const ended = once(child, "exit");
    const begun = moved();
    while (moved() - begun < KILL_AT * left) {
      if (child.exitCode !== null) throw new Error(`${mover.name} ended before it was killed`);
      await sleep(2);
    }
    signalGroup(child, "SIGKILL");
    await ended;
    if (mover.resumes) left = Math.max(0, bytes - (moved() - before));
  }
  await measure(mover.command(round), mover.env);
  await mover.check?.(round);
  return moved() - before;
}

await inScope(async (scope) => {
  const neutral = options.store === "embedded" ? undefined : await startStore(scope, options.store);
  const proxies: CountingProxy[] = [];
  let s3Port = 0;
  const hub = await startBenchHub(scope, {
    name: "kill",
    ...(neutral === undefined ? {} : { store: neutral }),
    proxied: async (ports) => {
      const [api, apiPort] = await countedProxy(scope, () => ports.hub);
      const [s3, port] = await countedProxy(scope, () => ports.s3);
      proxies.push(api, s3);
      s3Port = port;
      return { url: `http://127.0.0.1:${apiPort}`, s3: `http://127.0.0.1:${port}` };
    },
  });
  const store = { ...hub.store, endpoint: `http://127.0.0.1:${s3Port}` };
  await createBucket(hub.store, PEER_BUCKET);
  const file = scope.path("random.bin");
  await writeRandom(file, bytes);
  const digest = await digestOf(file);
  const { env, aws, rclone, s5cmd } = await s3Peers(scope, store);
  const [tus, curl, aria2] = [
    await optionalTool("tus"),
    await optionalTool("curl"),
    await optionalTool("aria2c"),
  ];
  let tusUrl = "";
  if (tus !== undefined) {
    const target = new URL(await startTus(scope, HERE, tus));
    const own = Number(target.port);
    const [proxy, port] = await countedProxy(scope, () => own);
    proxies.push(proxy);
    target.port = String(port);
    tusUrl = target.href;
  }
  const s3 = s3Client(store);
  scope.defer(async () => s3.destroy());
  const source = `s3://${PEER_BUCKET}/source`;
  await measure(aws("cp", "--only-show-errors", file, source), env);
  const link = await getSignedUrl(
    s3,
    new GetObjectCommand({ Bucket: PEER_BUCKET, Key: "source" }),
    {
      expiresIn: 6 * 3600,
    },
  );
  await hub.createRoom("pull");
  await measure(pushCommand(file, "pull"), hub.env);

  const to = (name: string) => (round: number) => `s3://${PEER_BUCKET}/${name}-${round}`;
  const into = (name: string, round: number) => scope.path(`pulled-${name}-${round}`);
  const same =
    (name: string, inside = "") =>
    async (round: number) => {
      const pulled = into(name, round);
      if ((await digestOf(`${pulled}${inside}`)) !== digest)
        throw new Error(`${name}: wrong bytes`);
      await rm(pulled, { recursive: true });
    };
  const movers: (Mover | undefined)[] = [
    {
      name: "waybill push",
      way: "up",
      env: hub.env,
      resumes: true,
      prepare: (round) => hub.createRoom(`push-${round}`),
      command: (round) => pushCommand(file, `push-${round}`),
    },
    {
      name: "aws s3 cp",
      way: "up",
      env,
      resumes: false,
      command: (round) => aws("cp", "--only-show-errors", file, to("aws")(round)),
    },
    {
      name: "rclone, tuned",
      way: "up",
      env,
      resumes: false,
      command: (round) =>
        rclone("copyto", ...RCLONE_TUNED, file, `peer:${PEER_BUCKET}/rclone-${round}`),
    },
    s5cmd && {
      name: "s5cmd",
      way: "up",
      env,
      resumes: false,
      command: (round) => s5cmd("cp", file, to("s5cmd")(round)),
    },
    tus === undefined
      ? undefined
      : {
          name: "tus",
          way: "up",
          resumes: true,
          command: (round) => tusPutCommand(tus, tusUrl, file, scope.path(`tus-${round}.json`)),
        },
    {
      name: "waybill pull",
      way: "down",
      env: hub.env,
      resumes: true,
      command: (round) => pullCommand("bench", into("waybill", round), "pull"),
      check: same("waybill", "/random.bin"),
    },
    {
      name: "aws s3 cp",
      way: "down",
      env,
      resumes: false,
      command: (round) => aws("cp", "--only-show-errors", source, into("aws", round)),
      check: same("aws"),
    },
    s5cmd && {
      name: "s5cmd",
      way: "down",
      env,
      resumes: false,
      command: (round) => s5cmd("cp", source, into("s5cmd", round)),
      check: same("s5cmd"),
    },
    curl === undefined
      ? undefined
      : {
          name: "curl -C -",
          way: "down",
          resumes: true,
          command: (round) => [curl, "-sS", "--fail", "-C", "-", "-o", into("curl", round), link],
          check: same("curl"),
        },
    aria2 === undefined
      ? undefined
      : {
          name: "aria2 -c",
          way: "down",
          resumes: true,
          command: (round) => aria2Command(aria2, into("aria2", round), link),
          check: same("aria2"),
        },
  ];
  const found = new Map<Mover, number[]>();
  const failed = new Map<Mover, string>();
  for (let round = 1; round <= options.rounds; round++) {
    for (const mover of movers) {
      if (mover === undefined) continue;
      const ours = mover.name.startsWith("waybill");
      if (
        !ours &&
        options.only.length > 0 &&
        !options.only.some((word) => mover.name.includes(word))
      )
        continue;
      const moved = () => proxies.reduce((sum, proxy) => sum + proxy[mover.way], 0);
      try {
        const total = (await cost(mover, round, moved)) / bytes;
        found.set(mover, [...(found.get(mover) ?? []), total]);
        note(`${mover.name} ${mover.way}, round ${round}: ${total.toFixed(4)} × size`);
      } catch (error) {
        failed.set(mover, (error as Error).message);
        note(`${mover.name} ${mover.way}, round ${round}: ${(error as Error).message}`);
      }
    }
  }
  const section = (way: "up" | "down", title: string) => {
    const rows = movers
      .filter((mover) => mover?.way === way)
      .filter((mover) => mover !== undefined)
      .filter((mover) => found.has(mover) || failed.has(mover))
      .map((mover) => {
        const shares = found.get(mover);
        return shares === undefined
          ? [mover.name, failed.get(mover) ?? "failed", "–"]
          : [mover.name, median(shares).toFixed(4), Math.max(...shares).toFixed(4)];
      });
    return { title, rows: [["command", "bytes ÷ size, median", "worst"], ...rows], data: rows };
  };
  const what = `${options.mib} MiB, killed twice, ${options.rounds} rounds, ${options.store}`;
  await report("kill", options, [
    section("up", `Bytes sent by a push: ${what}`),
    section("down", `Bytes received by a pull: ${what}`),
  ]);
});

// npm run bench:delta: what a second version costs. A file is pushed, changed, and pushed again under its name;
// then pulled over the first version. rsync (to its daemon) and rclone beside it, all counted by a proxy.
import { copyFile, mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { CountingProxy } from "../test/support/counting-proxy.ts";
import { digestOf } from "../test/support/random-file.ts";
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { PEER_BUCKET, RCLONE_TUNED, pullCommand, pushCommand, s3Peers } from "./peers/commands.ts";
import { MIB, overwriteRandom, writeRandom } from "./setup/data.ts";
import { startBenchHub } from "./setup/hub.ts";
import { measure, median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { inScope, start } from "./setup/scope.ts";
import { HERE, createBucket, freePort, listening, startStore } from "./setup/store.ts";
import { optionalTool } from "./setup/tools.ts";

const options = readOptions({ mib: 1024, rounds: 3 });
const bytes = options.mib * MIB;

type Change = { readonly name: string; readonly apply: (file: string) => Promise<void> };

const CHANGES: readonly Change[] = [
  {
    name: "1 % in place, in one piece",
    apply: (file) => overwriteRandom(file, Math.floor(bytes * 0.37), Math.floor(bytes / 100)),
  },
  {
    name: "1 % in place, in 10 pieces",
    apply: async (file) => {
      for (let i = 0; i < 10; i++)
        await overwriteRandom(
          file,
          Math.floor(bytes * (0.05 + i * 0.093)),
          Math.floor(bytes / 1000),
        );
    },
  },
  {
    name: "1 MiB inserted at the front",
    apply: async (file) => {
      await writeRandom(`${file}.new`, MIB);
      await using grown = await open(`${file}.new`, "a");
      await pipeline(
        createReadStream(file, { highWaterMark: 8 * MIB }),
        grown.createWriteStream({ highWaterMark: 8 * MIB }),
      );
      await rename(`${file}.new`, file);
    },
  },
];

await inScope(async (scope) => {
  const neutral = options.store === "embedded" ? undefined : await startStore(scope, options.store);
  const counted: CountingProxy[] = [];
  const proxyOf = async (port: number) => {
    const proxy = scope.use(new CountingProxy(() => port));
    counted.push(proxy);
    return proxy.start();
  };
  let s3Port = 0;
  const hub = await startBenchHub(scope, {
    name: "delta",
    ...(neutral === undefined ? {} : { store: neutral }),
    proxied: async (ports) => {
      s3Port = await proxyOf(ports.s3);
      const url = `http://127.0.0.1:${await proxyOf(ports.hub)}`;
      return { url, s3: `http://127.0.0.1:${s3Port}` };
    },
  });
  await createBucket(hub.store, PEER_BUCKET);
  const { env, rclone } = await s3Peers(scope, {
    ...hub.store,
    endpoint: `http://127.0.0.1:${s3Port}`,
  });
  const rsync = await optionalTool("rsync");
  let rsyncPort = 0;
  if (rsync !== undefined) {
    const port = await freePort();
    await mkdir(scope.path("rsync"));
    const module = `use chroot = no\n[bench]\npath = ${scope.path("rsync")}\nread only = no\nuid = 0\ngid = 0\n`;
    await writeFile(scope.path("rsyncd.conf"), module);
    const argv = [rsync, "--daemon", "--no-detach", "--address=127.0.0.1", `--port=${port}`];
    const daemon = start([...argv, `--config=${scope.path("rsyncd.conf")}`], { stdio: "inherit" });
    await listening(HERE, port, () => daemon.exitCode === null);
    rsyncPort = await proxyOf(port);
  }
  const total = (way: "up" | "down") => counted.reduce((sum, proxy) => sum + proxy[way], 0);
  const cost = async (way: "up" | "down", argv: readonly string[], settings: NodeJS.ProcessEnv) => {
    const before = total(way);
    const { wallSeconds } = await measure(argv, settings);
    return { bytes: total(way) - before, seconds: wallSeconds };
  };
  const [base, file] = [scope.path("base.bin"), scope.path("data.bin")];
  await writeRandom(base, bytes);
  const found = new Map<string, { bytes: number; seconds: number }[]>();
  const add = (name: string, one: { bytes: number; seconds: number }) => {
    found.set(name, [...(found.get(name) ?? []), one]);
    note(`${name}: ${formatBytes(one.bytes)}, ${one.seconds.toFixed(2)} s`);
  };
  const wanted = (name: string) =>
    options.only.length === 0 || options.only.some((word) => name.includes(word));
  for (let round = 1; round <= options.rounds; round++) {
    for (const [index, change] of CHANGES.entries()) {
      const room = `delta-${index}-${round}`;
      const folder = scope.path("pulled");
      const rsyncTo = [
        rsync ?? "",
        "-a",
        "--no-whole-file",
        file,
        `rsync://127.0.0.1:${rsyncPort}/bench/`,
      ];
      const rcloneTo = ["copyto", ...RCLONE_TUNED, file, `peer:${PEER_BUCKET}/${room}`];
      await copyFile(base, file);
      await hub.createRoom(room);
      await measure(pushCommand(file, room), hub.env);
      await measure(pullCommand("bench", folder, room), hub.env);
      if (rsync !== undefined && wanted("rsync")) await measure(rsyncTo);
      if (wanted("rclone")) await measure(rclone(...rcloneTo), env);
      await change.apply(file);
      add(`${change.name}|waybill push`, await cost("up", pushCommand(file, room), hub.env));
      const over = [...pullCommand("bench", folder, room), "--overwrite"];
      add(`${change.name}|waybill pull over the old version`, await cost("down", over, hub.env));
      if ((await digestOf(`${folder}/data.bin`)) !== (await digestOf(file)))
        throw new Error("the pulled bytes are not those that were pushed");
      if (rsync !== undefined && wanted("rsync"))
        add(`${change.name}|rsync`, await cost("up", rsyncTo, process.env));
      if (wanted("rclone"))
        add(`${change.name}|rclone`, await cost("up", rclone(...rcloneTo), env));
      await rm(folder, { recursive: true });
    }
  }
  const rows = [...found].map(([name, runs]) => {
    const [change = "", command = ""] = name.split("|");
    const moved = median(runs.map((one) => one.bytes));
    return [
      change,
      command,
      formatBytes(moved),
      `${((moved / bytes) * 100).toFixed(2)} %`,
      median(runs.map((one) => one.seconds)).toFixed(2),
    ];
  });
  await report("delta", options, [
    {
      title: `A second version of ${options.mib} MiB (${options.store}, ${options.rounds} rounds)`,
      rows: [["change", "command", "bytes", "of the file", "seconds"], ...rows],
      data: [...found],
    },
  ]);
});

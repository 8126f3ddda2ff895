// npm run bench:clean: pushes and pulls one file on a clean link (loopback), hashing on, beside every peer there
// is, on a store that none of them wrote; `--store embedded` on the hub's own. 4 GiB: `--mib 4096`.
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { PEER_BUCKET, pullers, pushers, pushCommand, s3Peers } from "./peers/commands.ts";
import { MIB, writeRandom } from "./setup/data.ts";
import { startBenchHub } from "./setup/hub.ts";
import { compare, measure } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { TIME_HEAD, report, timeRows } from "./setup/report.ts";
import { inScope } from "./setup/scope.ts";
import { HERE, createBucket, s3Client, startStore } from "./setup/store.ts";

const options = readOptions({ mib: 1024, rounds: 5 });
const bytes = options.mib * MIB;

await inScope(async (scope) => {
  const neutral = options.store === "embedded" ? undefined : await startStore(scope, options.store);
  const hub = await startBenchHub(scope, {
    name: "clean",
    ...(neutral === undefined ? {} : { store: neutral }),
  });
  const { store } = hub;
  const s3 = s3Client(store);
  scope.defer(async () => s3.destroy());
  await createBucket(store, PEER_BUCKET);
  const file = scope.path("random.bin");
  await writeRandom(file, bytes);
  const transfers = { scope, hub, store, s3, file, at: HERE, tusHost: HERE, only: options.only };
  const pushed = await compare(await pushers(transfers), options.rounds);

  await hub.createRoom("pull");
  await measure(pushCommand(file, "pull"), hub.env);
  const { env, aws } = await s3Peers(scope, store);
  await measure(aws("cp", "--only-show-errors", file, `s3://${PEER_BUCKET}/source`), env);
  const pulled = await compare(await pullers(transfers, "source"), options.rounds);

  const on = `on ${options.store}, ${options.rounds} rounds`;
  await report("clean", options, [
    {
      title: `Push ${formatBytes(bytes)} ${on}`,
      rows: [[...TIME_HEAD], ...timeRows(pushed, bytes)],
      data: pushed,
    },
    {
      title: `Pull ${formatBytes(bytes)} ${on}`,
      rows: [[...TIME_HEAD], ...timeRows(pulled, bytes)],
      data: pulled,
    },
  ]);
});

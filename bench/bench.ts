// npm run bench: every benchmark in turn, as they are run for docs/performance.md; hours on two cores. Options
// after `--` go to each: `npm run bench -- --write`, or a quick look with `-- --rounds 1`.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const RUNS: readonly (readonly [name: string, ...options: string[]])[] = [
  ["clean"],
  ["clean", "--mib", "4096"],
  ["clean", "--store", "embedded"],
  ["far", "--rounds", "3"],
  ["kill"],
  ["reset"],
  ["wifi"],
  ["delta"],
  ["delta", "--store", "embedded"],
  ["many"],
  ["text"],
  ["mirrors"],
  ["hub-load"],
  ["outage"],
  ["ephemeral"],
  ["cache-warm"],
  ["cache-stress"],
];

const failed: string[] = [];
for (const [name, ...options] of RUNS) {
  const words = [...options, ...process.argv.slice(2)];
  console.log(`\n== ${name} ${words.join(" ")}`);
  const script = fileURLToPath(new URL(`${name}.ts`, import.meta.url));
  const { status, signal } = spawnSync(process.execPath, [script, ...words], { stdio: "inherit" });
  if (signal !== null || status === 130) process.exit(130);
  if (status !== 0) failed.push(name);
}
if (failed.length > 0) console.error(`failed: ${failed.join(", ")}`);
process.exitCode = failed.length === 0 ? 0 : 1;

// npm run build: JavaScript and types of the published packages, without leftovers of sources that are gone.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import path from "node:path";

const PACKAGES = ["packages/sdk", "packages/waybill"];

/** Compiled files whose source does not exist any more. */
function leftovers(folder: string): string[] {
  const outputs = path.join(folder, "dist");
  const sources = new Set(
    readdirSync(path.join(folder, "src"), { recursive: true, encoding: "utf8" }).map((file) =>
      file.replace(/\.ts$/, ""),
    ),
  );
  const compiled = /\.(?:js|d\.ts|js\.map)$/;
  try {
    return readdirSync(outputs, { recursive: true, encoding: "utf8" })
      .filter((file) => compiled.test(file) && !sources.has(file.replace(compiled, "")))
      .map((file) => path.join(outputs, file));
  } catch {
    return []; // not built yet
  }
}

for (const file of PACKAGES.flatMap(leftovers)) rmSync(file);
const built = spawnSync("tsc", ["-b", ...PACKAGES], { stdio: "inherit" });
process.exitCode = built.status ?? 1;

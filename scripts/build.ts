// npm run build: JavaScript and types of the published packages, without leftovers of sources that are gone; and the
// command line as few files: three hundred small ones take Node longer to find than to run.
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "vite";

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

/** Packages that go into the bundle: all that is needed to begin any command. */
const BUNDLED = ["commander", "env-paths", "is-safe-filename", "jose", "valibot"];

/** `packages/waybill/bundle`: what `bin/waybill.js` starts, and the store's thread. */
async function bundle(): Promise<void> {
  const root = path.resolve("packages/waybill");
  await build({
    root,
    configFile: false,
    logLevel: "warn",
    ssr: { noExternal: ["@waybill/sdk", ...BUNDLED] },
    build: {
      ssr: true,
      target: "node22",
      outDir: "bundle",
      emptyOutDir: true,
      minify: false,
      rolldownOptions: {
        input: {
          main: path.join(root, "dist/cli/main.js"),
          "threaded-store": path.join(root, "dist/store/threaded-store.js"),
        },
        output: { chunkFileNames: "[name]-[hash].js" },
      },
    },
  });
  const licences = BUNDLED.map((name) => {
    const folder = path.join("node_modules", name);
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
    if (file === undefined) throw new Error(`${folder} has no licence to pass on`);
    return `${name}\n\n${readFileSync(path.join(folder, file), "utf8").trim()}\n`;
  });
  writeFileSync(path.join(root, "bundle/LICENSES.txt"), licences.join("\n---\n\n"));
}

for (const file of PACKAGES.flatMap(leftovers)) rmSync(file);
const built = spawnSync("tsc", ["-b", ...PACKAGES], { stdio: "inherit" });
process.exitCode = built.status ?? 1;
if (built.status === 0) await bundle();

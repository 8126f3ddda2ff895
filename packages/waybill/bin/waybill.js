#!/usr/bin/env node
// Starts the command line with a Node that can run it. From a clone, an old system Node is replaced by
// the one pinned in the workspace; `npx waybill` and npm scripts find that one by themselves.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));

function pinnedNode() {
  try {
    const found = createRequire(import.meta.url).resolve("node/package.json");
    return path.join(
      path.dirname(found),
      "bin",
      process.platform === "win32" ? "node.exe" : "node",
    );
  } catch {
    return undefined;
  }
}

if (major > 22 || (major === 22 && minor >= 18)) {
  const { main: start } = await import(main);
  await start(process.argv);
} else {
  const pinned = process.env.WAYBILL_PINNED_NODE === undefined ? pinnedNode() : undefined;
  if (pinned === undefined) {
    console.error(`waybill: Node ${process.versions.node} is too old; 22.18 or newer is needed`);
    process.exit(1);
  }
  // The fourth stream closes when this process dies, however it dies; the child then ends too.
  const child = spawn(pinned, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: { ...process.env, WAYBILL_PINNED_NODE: "1" },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
    process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

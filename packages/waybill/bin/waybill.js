#!/bin/sh
':' /* 2>/dev/null
# As a shell script: becomes the right Node, so that no second process stands between the caller's signals
# and the command. The pinned Node of a workspace comes first, then the one on the PATH.
self=$(readlink -f "$0" 2>/dev/null || realpath "$0" 2>/dev/null || echo "$0")
here=$(dirname "$self")
for node in "$here/../../../node_modules/node/bin/node" "$here/../../node/bin/node"; do
  [ -x "$node" ] && exec "$node" "$self" "$@"
done
exec node "$self" "$@"
# */;
// As a module: what Node runs, and what npm's shims run where there is no shell. An old Node that was
// started by hand starts the pinned one, and takes it along when it dies.
import { spawn } from "node:child_process";
import module from "node:module";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const main = fileURLToPath(new URL("../bundle/main.js", import.meta.url));

function pinnedNode() {
  try {
    const found = module.createRequire(import.meta.url).resolve("node/package.json");
    return path.join(
      path.dirname(found),
      "bin",
      process.platform === "win32" ? "node.exe" : "node",
    );
  } catch {
    return undefined;
  }
}

/** Where Node keeps what it compiled; a folder of the user's own, because what lies in it is run. */
function compiledFolder() {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  const top = process.platform === "win32" ? LOCALAPPDATA : XDG_CACHE_HOME;
  return path.join(top || path.join(os.homedir(), ".cache"), "waybill", "compiled");
}

if (major > 22 || (major === 22 && minor >= 18)) {
  // Set below: when the old Node dies, however it dies, the channel to it closes.
  if (process.env.WAYBILL_PINNED_NODE === "1") {
    process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
    process.channel?.unref();
  }
  try {
    module.enableCompileCache?.(compiledFolder());
  } catch {
    // A user without a home starts a little more slowly.
  }
  const { main: start } = await import(main);
  await start(process.argv);
} else {
  const pinned = process.env.WAYBILL_PINNED_NODE === undefined ? pinnedNode() : undefined;
  if (pinned === undefined) {
    console.error(`waybill: Node ${process.versions.node} is too old; 22.18 or newer is needed`);
    process.exit(1);
  }
  const child = spawn(pinned, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: { ...process.env, WAYBILL_PINNED_NODE: "1" },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => child.kill(signal));
  }
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

// One hub per data directory. The lock is SQLite's own on an empty file: the system drops it when the
// process ends, however it ends, so there is no stale lock to explain.
import { WaybillError } from "@waybill/sdk/protocol";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** Makes the directory and locks it; the answer unlocks. Throws `conflict` when another hub has it. */
export function lockDataDir(dataDir: string): () => void {
  let database: DatabaseSync;
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    database = new DatabaseSync(join(dataDir, "hub.lock"));
  } catch (cause) {
    throw new WaybillError("local_io", `the data directory ${dataDir} cannot be used`, {
      cause,
      hint: "name another with --data, or check its rights",
    });
  }
  try {
    database.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE;");
  } catch (cause) {
    database.close();
    throw new WaybillError("conflict", `another hub runs on the data directory ${dataDir}`, {
      cause,
      hint: "stop it, or give this one another directory with --data",
    });
  }
  return () => database.close();
}

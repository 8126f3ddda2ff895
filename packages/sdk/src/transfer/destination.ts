// The folder an artifact is pulled into: one pull at a time, and nothing of the artifact lies where the pull keeps
// its own files.
import { PULL_STATE_FOLDER } from "../artifact/index.ts";
import { files } from "../platform/index.ts";
import { WaybillError } from "../protocol/index.ts";
import { delay } from "../timing/index.ts";

/** A killed process takes a moment to go; so does the last sign of one in another container. */
const WAIT_MS = 2000;
const LOOK_AGAIN_MS = 50;

/**
 * Takes a destination for one pull, making the folder; gives what releases it. Throws `conflict` when it is not a
 * folder, or another pull, of whatever artifact, still has it after `waitMs`; `local_io` where nothing can be written.
 */
export async function lockDestination(
  dir: string,
  options: { readonly signal?: AbortSignal | undefined; readonly waitMs?: number } = {},
): Promise<() => void> {
  const { signal, waitMs = WAIT_MS } = options;
  const facts = files.follow(dir);
  if (facts !== undefined && facts.kind !== "directory") {
    throw new WaybillError("conflict", `${dir} is in the way: it is not a folder`);
  }
  const state = files.join(dir, PULL_STATE_FOLDER);
  assertFolder(state);
  const endMs = performance.now() + waitMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const unlock = files.lock(files.join(state, "lock"), `the folder ${dir}`);
      return () => {
        unlock();
        files.removeEmpty(state);
      };
    } catch (error) {
      const isTaken = error instanceof WaybillError && error.code === "conflict";
      if (!isTaken || performance.now() >= endMs) throw error;
    }
    await delay(LOOK_AGAIN_MS, signal);
  }
}

/** Whether a folder is there; throws `conflict` when it is a link or anything else. */
export function assertFolder(path: string): boolean {
  const facts = files.lookAt(path);
  if (facts === undefined || facts.kind === "directory") return facts !== undefined;
  const what = facts.kind === "symlink" ? "a link, which is not followed" : "not a folder";
  throw new WaybillError("conflict", `${path} is in the way: it is ${what}`, {
    hint: "remove it, or pull into another folder",
  });
}

/** Throws `unsafe_path` when one of the paths lies where the pull itself keeps its state. */
export function assertOutsideState(paths: readonly string[]): void {
  const own = new RegExp(`^\\${PULL_STATE_FOLDER}(/lock|/[0-9a-f]{16}(/.*)?)?$`, "isu");
  const path = paths.find((one) => own.test(one));
  if (path === undefined) return;
  throw new WaybillError(
    "unsafe_path",
    `the artifact holds ${path}, where a pull keeps its state`,
    {
      hint: "push the tree again without it",
    },
  );
}

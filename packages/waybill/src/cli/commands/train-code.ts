// The code of a job: a folder, or the files that its command names.
import { cp, mkdtemp, rm, stat } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { type ArtifactId, type RoomId, WaybillError } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { pushPath } from "./push.ts";

/** Files named by the command are shipped along up to this size in all; more is meant for --code or --dataset. */
const AUTO_CODE_BYTES = 16 * 1024 * 1024;

/** The folder given with --code, or else a folder made of the files that the command names below the current one. */
export async function codeOf(
  context: Context,
  room: RoomId,
  command: readonly string[],
  options: { readonly code?: string; readonly quiet: boolean },
): Promise<ArtifactId | undefined> {
  if (options.code !== undefined) {
    return (await pushPath(context, room, options.code, { label: "code", quiet: options.quiet }))
      .artifact;
  }
  const files = await namedFiles(command);
  if (files.length === 0) return undefined;
  const folder = await mkdtemp(path.join(os.tmpdir(), "waybill-code-"));
  try {
    for (const file of files) {
      // With their times, so that unchanged code is not sent again.
      await cp(file, path.join(folder, file), { preserveTimestamps: true });
    }
    const pushed = await pushPath(context, room, folder, {
      name: "code",
      label: "code",
      quiet: options.quiet,
    });
    context.output.note(`code     ${files.join(", ")}`);
    return pushed.artifact;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Relative paths of regular files below the current folder among a command's words. */
async function namedFiles(command: readonly string[]): Promise<string[]> {
  const files = new Set<string>();
  let bytes = 0;
  for (const word of command) {
    if (path.isAbsolute(word)) continue;
    const relative = path.relative(process.cwd(), path.resolve(word));
    if (relative === "" || relative.startsWith("..")) continue;
    const found = await stat(relative).catch(() => undefined);
    if (found?.isFile() !== true || files.has(relative)) continue;
    bytes += found.size;
    files.add(relative);
  }
  if (bytes > AUTO_CODE_BYTES) {
    throw new WaybillError(
      "too_large",
      `the files that the command names (${[...files].join(", ")}) have ${bytes} bytes`,
      {
        hint: "push large files as --dataset, or name a folder with --code",
      },
    );
  }
  return [...files];
}

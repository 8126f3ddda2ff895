// waybill push: a file or folder into a room.
import { existsSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { pushArtifact, type PushResult } from "@waybill/sdk/client";
import {
  ArtifactName,
  type RoomId,
  WaybillError,
  decodeValue,
  isAbort,
} from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { withRoom } from "../options.ts";
import { formatBytes, formatRate, formatSeconds, formatTime } from "../render/format.ts";
import { transferProgress } from "../render/transfer-progress.ts";
import type { Runner } from "../runner.ts";

export function pushCommand(run: Runner): Command {
  return withRoom(new Command("push"))
    .argument("<path>", "file or folder")
    .option("-n, --name <name>", "what to call it (default: the file's or folder's name)")
    .option("--keep", "keep it until it is removed, not just for the upload's lifetime (24 h)")
    .description(
      "upload a file or folder; run it again after any interruption and it goes on where it was",
    )
    .action(run<[string], { name?: string; keep?: boolean }>(push));
}

async function push(
  context: Context,
  [source]: [string],
  options: { name?: string; keep?: boolean },
): Promise<void> {
  const { output } = context;
  const room = await context.room();
  const result = await pushPath(context, room, source, options);
  const { record, warnings, ...figures } = result;
  const expires = record?.expiresAt === undefined ? {} : { expiresAt: record.expiresAt };
  output.record({ type: "done", ...figures, ...expires });
  const saved =
    result.savedBytes > 0 ? `, ${formatBytes(result.savedBytes)} were there already` : "";
  output.line(result.artifact);
  output.note(
    `${result.files} files, ${formatBytes(result.bytes)} in ${formatSeconds(result.seconds)} (${formatRate(result.bytes, result.seconds)}); sent ${formatBytes(result.sentBytes)}${saved}`,
  );
  for (const warning of warnings) output.note(`note: ${warning}`);
  if (record === undefined) return;
  output.note(
    record.expiresAt === undefined
      ? "kept until it is removed"
      : `kept until ${formatTime(record.expiresAt)} UTC; push with --keep to keep it for good`,
  );
}

/** Pushes a path with progress; says how to resume when it is interrupted. */
export async function pushPath(
  context: Context,
  room: RoomId,
  source: string,
  options: {
    readonly name?: string;
    readonly keep?: boolean;
    readonly label?: string;
    readonly quiet?: boolean;
  },
): Promise<PushResult> {
  const given = options.name ?? path.basename(path.resolve(source));
  const name = decodeValue(ArtifactName, given, `name "${given}"`);
  if (!existsSync(source)) {
    throw new WaybillError("not_found", `there is no file or folder ${source}`);
  }
  const hub = await context.client(room, "transfer");
  try {
    return await pushArtifact(hub, {
      room,
      path: source,
      name,
      purpose: { kind: "dataset", keep: options.keep === true },
      signal: context.signal,
      ...(options.quiet === true
        ? {}
        : { onProgress: transferProgress(context.output, options.label ?? `push ${name}`) }),
    });
  } catch (error) {
    if (isAbort(error))
      context.output.complain(
        "push stopped; what is confirmed stays there: run the same command again to go on",
      );
    throw error;
  } finally {
    context.output.settle();
  }
}

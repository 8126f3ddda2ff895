// waybill push: a file or folder into a room.
import { existsSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { pushArtifact, type PushResult } from "@waybill/sdk/client";
import { createByteTransport } from "@waybill/sdk/platform";
import {
  ArtifactName,
  type RoomId,
  WaybillError,
  decodeValue,
  isAbort,
} from "@waybill/sdk/protocol";
import { parseRateLimit } from "@waybill/sdk/timing";
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
    .option("--no-dedupe", "send everything: compare with nothing the room holds")
    .option(
      "--limit-up <rate>",
      "bytes a second at most, as 512K, or by time: 08:00,512K 19:00,off",
    )
    .description(
      "upload a file or folder; run it again after any interruption and it goes on where it was",
    )
    .action(run<[string], PushArguments>(push));
}

type PushArguments = {
  readonly name?: string;
  readonly keep?: boolean;
  readonly dedupe?: boolean;
  readonly limitUp?: string;
};

async function push(context: Context, [source]: [string], options: PushArguments): Promise<void> {
  const { output } = context;
  const room = await context.room();
  const result = await pushPath(context, room, source, options);
  const { record, warnings, ...figures } = result;
  const expires = record?.expiresAt === undefined ? {} : { expiresAt: record.expiresAt };
  output.record({ type: "done", ...figures, ...expires });
  const saved = savedText(result);
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

/** Why bytes did not have to be sent. */
function savedText({ saved }: PushResult): string {
  const reasons = [
    [saved.held, "were there already"],
    [saved.copied, "were copied by the store"],
    [saved.identical, "were there as another artifact's, all of them"],
  ] as const;
  return reasons
    .filter(([bytes]) => bytes > 0)
    .map(([bytes, why]) => `, ${formatBytes(bytes)} ${why}`)
    .join("");
}

/** Pushes a path with progress; says how to resume when it is interrupted. */
export async function pushPath(
  context: Context,
  room: RoomId,
  source: string,
  options: PushArguments & { readonly label?: string; readonly quiet?: boolean },
): Promise<PushResult> {
  const given = options.name ?? path.basename(path.resolve(source));
  const name = decodeValue(ArtifactName, given, `name "${given}"`);
  if (!existsSync(source)) {
    throw new WaybillError("not_found", `there is no file or folder ${source}`);
  }
  const { limitUp } = options;
  const limits = limitUp === undefined ? {} : { limits: { up: parseRateLimit(limitUp) } };
  const hub = await context.client(room, "transfer");
  const transport = createByteTransport(limits);
  try {
    return await pushArtifact(hub, {
      room,
      path: source,
      name,
      purpose: { kind: "dataset", keep: options.keep === true },
      dedupe: options.dedupe !== false,
      transport,
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
    transport.close();
    context.output.settle();
  }
}

// waybill push: a file or folder into a room.
import path from "node:path";
import { Command, Option } from "commander";
import { type PushOptions, type PushResult, pushArtifact } from "@waybill/sdk/client";
import { createByteTransport } from "@waybill/sdk/platform";
import { type RoomId, isAbort } from "@waybill/sdk/protocol";
import { parseRateLimit } from "@waybill/sdk/timing";
import type { Context } from "../context.ts";
import { openLive } from "../live.ts";
import { filePath, withRoom } from "../options.ts";
import { type PushArguments, pushOptions } from "../push-options.ts";
import { type ReceiptOption, orderReceipt } from "../receipt-file.ts";
import { formatTime } from "../render/format.ts";
import { RetryNotice } from "../render/retry-notice.ts";
import { summaryLine } from "../render/transfer-summary.ts";
import { TransferView } from "../render/transfer-view.ts";
import type { Runner } from "../runner.ts";
import { beginAnnouncedPush } from "./announced-push.ts";

export function pushCommand(run: Runner): Command {
  return withRoom(new Command("push"))
    .argument("<path>", "file or folder", filePath)
    .option("-n, --name <name>", "what to call it (default: the file's or folder's name)")
    .option("--keep", "keep it until it is removed, not just for the upload's lifetime (24 h)")
    .option("--no-dedupe", "send everything: compare with nothing the room holds")
    .addOption(
      new Option(
        "--compress <when>",
        "store files as zstd frames: those that shrink, or all, or none",
      )
        .choices(["auto", "always", "never"])
        .default("auto"),
    )
    .option(
      "--limit-up <rate>",
      "bytes a second at most, as 512K, or by time: 08:00,512K 19:00,off",
    )
    .option("--announce", "let others read it while it is on its way (hashes everything first)")
    .option("--no-direct", "with --announce: do not serve it from this machine meanwhile")
    .option("--receipt [file]", "leave a signed receipt (default: PATH.receipt.json beside it)")
    .description(
      "upload a file or folder; run it again after any interruption and it goes on where it was",
    )
    .action(run<[string], PushArguments & AnnounceOptions & ReceiptOption>(push));
}

type AnnounceOptions = { readonly announce?: boolean; readonly direct?: boolean };

async function push(
  context: Context,
  [source]: [string],
  { receipt: wanted, announce, ...options }: PushArguments & AnnounceOptions & ReceiptOption,
): Promise<void> {
  const { output } = context;
  const room = await context.room();
  const name = options.name ?? path.basename(path.resolve(source));
  const order = await orderReceipt(context, room, wanted, source);
  const result =
    announce === true
      ? await pushAnnouncedPath(context, room, source, { ...options, name })
      : await pushPath(context, room, source, { ...options, name });
  const { record, warnings, manifest, ...figures } = result;
  const { artifact, sentBytes, saved } = figures;
  output.line(artifact);
  output.note(summaryLine({ verb: "pushed", name, ...figures }));
  const facts = { direction: "push", artifact, name, sentBytes, saved } as const;
  const receipt = await order?.keep(facts, manifest);
  const expires = record?.expiresAt === undefined ? {} : { expiresAt: record.expiresAt };
  output.record({ type: "done", ...figures, ...expires, ...receipt });
  for (const warning of warnings) output.note(`note: ${warning}`);
  if (record === undefined) return;
  output.note(
    record.expiresAt === undefined
      ? "kept until it is removed"
      : `kept until ${formatTime(record.expiresAt)} UTC; push with --keep to keep it for good`,
  );
}

/** Pushes a path that others can read meanwhile. */
async function pushAnnouncedPath(
  context: Context,
  room: RoomId,
  source: string,
  options: PushArguments & AnnounceOptions,
): Promise<PushResult> {
  await using live =
    options.direct === false || !context.webrtc
      ? undefined
      : await openLive(context, room, await context.client(room, "transfer"));
  await using running = await beginAnnouncedPush(context, room, source, { ...options, live });
  return await running.done;
}

/** Pushes a path with progress; says how to resume when it is interrupted. */
export async function pushPath(
  context: Context,
  room: RoomId,
  source: string,
  options: PushArguments &
    Pick<PushOptions, "purpose" | "scan"> & { readonly label?: string; readonly quiet?: boolean },
): Promise<PushResult> {
  const { purpose, scan } = options;
  const what = {
    ...pushOptions(source, options),
    ...(purpose === undefined ? {} : { purpose }),
    ...(scan === undefined ? {} : { scan }),
  };
  const { limitUp } = options;
  const limits = limitUp === undefined ? {} : { limits: { up: parseRateLimit(limitUp) } };
  const { output } = context;
  const quiet = options.quiet === true;
  const newNotice = () => (quiet ? undefined : new RetryNotice({ output }));
  const hub = await context.client(room, "transfer", newNotice());
  const transport = createByteTransport(limits);
  const label = options.label ?? `push ${what.name}`;
  const view = quiet ? undefined : new TransferView({ output, label });
  const notice = newNotice();
  try {
    return await pushArtifact(hub, {
      room,
      ...what,
      transport,
      signal: context.signal,
      onRetry: (error, waitMs) => notice?.failed(error, waitMs),
      onProgress: (progress) => {
        notice?.progressed(progress.bytes);
        view?.tick(progress);
      },
    });
  } catch (error) {
    view?.stop();
    if (isAbort(error))
      output.complain(
        "push stopped; what is confirmed stays there: run the same command again to go on",
      );
    throw error;
  } finally {
    view?.stop();
    transport.close();
  }
}

// waybill pull: an artifact out of a room into a folder, verified shard by shard.
import { Command } from "commander";
import { pullArtifact, type PullResult, type SourceReport } from "@waybill/sdk/client";
import { type RoomId, isAbort } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { openLive } from "../live.ts";
import { filePath, withRoom } from "../options.ts";
import { type ReceiptOption, orderReceipt } from "../receipt-file.ts";
import { RetryNotice } from "../render/retry-notice.ts";
import { sourceReport } from "../render/source-report.ts";
import { summaryLine } from "../render/transfer-summary.ts";
import { TransferView } from "../render/transfer-view.ts";
import type { Runner } from "../runner.ts";
import { type SourcePolicy, pullPolicy, withSourcePolicy } from "../source-policy.ts";

type PullOptions = SourcePolicy & { readonly overwrite?: boolean };

export function pullCommand(run: Runner): Command {
  return withSourcePolicy(withRoom(new Command("pull")))
    .argument("<ref>", "artifact id, a prefix of at least 8 digits, or a name (the newest)")
    .argument("<dir>", "folder to fill", filePath)
    .option("--overwrite", "replace files that are there with other content")
    .option("--receipt [file]", "leave a signed receipt (default: DIR.receipt.json beside it)")
    .description(
      "download an artifact; run it again after any interruption and it goes on where it was",
    )
    .action(run<[string, string], PullOptions & ReceiptOption>(pull));
}

async function pull(
  context: Context,
  [ref, dir]: [string, string],
  { receipt: wanted, ...options }: PullOptions & ReceiptOption,
): Promise<void> {
  const { output } = context;
  const room = await context.room();
  const order = await orderReceipt(context, room, wanted, dir);
  const result = await pullInto(context, room, { ref, dir, label: `pull ${ref}`, ...options });
  const { artifact, name, bytes, seconds, sources, files, manifest } = result;
  output.line(pullSummary(result, dir));
  const facts = { direction: "pull", artifact, name, ...savedIn(result), sources } as const;
  const receivedBytes = receivedIn(result);
  const receipt = await order?.keep({ ...facts, receivedBytes }, manifest);
  output.record({ type: "done", artifact, bytes, seconds, sources, files, ...receipt });
}

/** One line about a finished pull. */
export function pullSummary(result: PullResult, dir: string): string {
  const retries = result.report.reduce((sum, source) => sum + source.retries, 0);
  return `${summaryLine({ verb: "pulled", ...result, retries })} · verified in ${dir}`;
}

/** What this machine had already. */
function savedFrom({ cache = 0 }: PullResult["sources"]) {
  return { saved: { cache } };
}

/** Bytes that came over the wire, those of no use included. */
function receivedIn({ report }: PullResult): number {
  return report
    .filter(({ kind }) => kind !== "cache")
    .reduce(
      (sum, { bytes, wastedBytes, compressedBytes = 0 }) =>
        sum + bytes + wastedBytes - compressedBytes,
      0,
    );
}

/** What did not have to travel. */
function savedIn({ sources, report }: PullResult) {
  const compressed = report.reduce((sum, { compressedBytes = 0 }) => sum + compressedBytes, 0);
  const { saved } = savedFrom(sources);
  return { saved: compressed > 0 ? { ...saved, compressed } : saved };
}

/** Pulls with progress; says how to resume when it is interrupted. */
export async function pullInto(
  context: Context,
  room: RoomId,
  what: { readonly ref: string; readonly dir: string; readonly label: string } & PullOptions,
): Promise<PullResult> {
  const { output } = context;
  const hub = await context.client(room, "transfer", new RetryNotice({ output }));
  const { transport, ...policy } = pullPolicy(what);
  let report: readonly SourceReport[] | undefined;
  let retries = 0;
  let live: Awaited<ReturnType<typeof openLive>> | undefined;
  const peers = async () => {
    if (!context.webrtc) return undefined;
    live ??= await openLive(context, room, hub);
    return live.carriesBulk ? live.links : undefined;
  };
  const view = new TransferView({ output, label: what.label });
  const notice = new RetryNotice({ output });
  try {
    return await pullArtifact(hub, {
      ...policy,
      transport,
      room,
      ref: what.ref,
      dir: what.dir,
      overwrite: what.overwrite === true,
      peers,
      signal: context.signal,
      onProgress: ({ bytes, total, sources }) => {
        notice.progressed(bytes);
        view.tick({ bytes, total, ...savedFrom(sources), sources, retries });
      },
      onRetry: (error, waitMs) => {
        retries += 1;
        notice.failed(error, waitMs);
      },
      onReport: (facts) => (report = facts),
    });
  } catch (error) {
    view.stop();
    if (isAbort(error))
      output.complain(
        "pull stopped; verified shards are kept: run the same command again to go on",
      );
    throw error;
  } finally {
    view.stop();
    await live?.[Symbol.asyncDispose]();
    transport.close();
    if (what.explain === true) explain(context, report);
  }
}

/** Prints why each source was used, however the pull ended. */
function explain({ output }: Context, sources: readonly SourceReport[] | undefined): void {
  output.record({ type: "explain", sources: sources ?? [] });
  output.note(sourceReport(sources));
}

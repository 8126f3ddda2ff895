// waybill pull: an artifact out of a room into a folder, verified shard by shard.
import { Command } from "commander";
import { pullArtifact, type PullResult, type SourceReport } from "@waybill/sdk/client";
import { type RoomId, isAbort } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { withRoom } from "../options.ts";
import { sourceReport } from "../render/source-report.ts";
import { formatBytes, formatRate, formatSeconds } from "../render/format.ts";
import { transferProgress } from "../render/transfer-progress.ts";
import type { Runner } from "../runner.ts";
import { type SourcePolicy, pullPolicy, withSourcePolicy } from "../source-policy.ts";

type PullOptions = SourcePolicy & { readonly overwrite?: boolean };

export function pullCommand(run: Runner): Command {
  return withSourcePolicy(withRoom(new Command("pull")))
    .argument("<ref>", "artifact id, a prefix of at least 8 digits, or a name (the newest)")
    .argument("<dir>", "folder to fill")
    .option("--overwrite", "replace files that are there with other content")
    .description(
      "download an artifact; run it again after any interruption and it goes on where it was",
    )
    .action(run<[string, string], PullOptions>(pull));
}

async function pull(
  context: Context,
  [ref, dir]: [string, string],
  options: PullOptions,
): Promise<void> {
  const room = await context.room();
  const result = await pullInto(context, room, { ref, dir, label: `pull ${ref}`, ...options });
  const { artifact, bytes, seconds, sources, files } = result;
  context.output.record({ type: "done", artifact, bytes, seconds, sources, files });
  context.output.line(pullSummary(result, dir));
}

/** One line about a finished pull. */
export function pullSummary(result: PullResult, dir: string): string {
  const from = Object.entries(result.sources)
    .filter(([, bytes]) => bytes > 0)
    .map(([kind, bytes]) => `${formatBytes(bytes)} from ${kind}`);
  return `${result.files} files, ${formatBytes(result.bytes)} verified in ${dir} in ${formatSeconds(result.seconds)} (${formatRate(result.bytes, result.seconds)}; ${from.join(", ") || "nothing to fetch"})`;
}

/** Pulls with progress; says how to resume when it is interrupted. */
export async function pullInto(
  context: Context,
  room: RoomId,
  what: { readonly ref: string; readonly dir: string; readonly label: string } & PullOptions,
): Promise<PullResult> {
  const hub = await context.client(room, "transfer");
  const { transport, ...policy } = pullPolicy(what);
  let report: readonly SourceReport[] | undefined;
  try {
    return await pullArtifact(hub, {
      ...policy,
      transport,
      room,
      ref: what.ref,
      dir: what.dir,
      overwrite: what.overwrite === true,
      signal: context.signal,
      onProgress: transferProgress(context.output, what.label),
      onReport: (facts) => (report = facts),
    });
  } catch (error) {
    if (isAbort(error))
      context.output.complain(
        "pull stopped; verified shards are kept: run the same command again to go on",
      );
    throw error;
  } finally {
    transport.close();
    context.output.settle();
    if (what.explain === true) explain(context, report ?? []);
  }
}

/** Prints why each source was used, however the pull ended. */
function explain({ output }: Context, sources: readonly SourceReport[]): void {
  output.record({ type: "explain", sources });
  output.note(sourceReport(sources));
}

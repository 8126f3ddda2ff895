// waybill gc: removes what a room keeps no more, after it was listed.
import { Command } from "commander";
import type { GcReport } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { withRoom } from "../options.ts";
import { gcText, gcTotals } from "../render/gc-view.ts";
import type { Runner } from "../runner.ts";

type GcOptions = { readonly dryRun?: boolean; readonly yes?: boolean };

export function gcCommand(run: Runner): Command {
  return withRoom(new Command("gc"))
    .option("--dry-run", "only list what would go and what is kept, and why")
    .option("--yes", "do it; on a terminal it is only listed without this")
    .description(
      "apply the room's retention rules, and free what removed models, lost attempts and expired uploads occupy",
    )
    .action(run<[], GcOptions>(gc));
}

async function gc(
  context: Context,
  _: [],
  { dryRun = false, yes = false }: GcOptions,
): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const hub = await context.client(room);
  const params = { room };
  const listOnly = dryRun || (output.interactive && !yes);
  if (listOnly) {
    show(context, await hub.call("planGc", { params }, { signal }), false);
    if (!dryRun) output.note("nothing was removed: run it again with --yes to do it");
    return;
  }
  let done = await hub.call("runGc", { params }, { signal });
  // One call does a bounded piece.
  while (done.more) {
    const next = await hub.call("runGc", { params }, { signal });
    done = { ...next, goes: [...done.goes, ...next.goes] };
  }
  show(context, done, true);
}

function show({ output }: Context, report: GcReport, did: boolean): void {
  for (const item of report.goes)
    output.record({ type: did ? "removed" : "would_remove", ...item });
  for (const item of report.kept) output.record({ type: "kept", ...item });
  const { at, rules } = report;
  output.record({ type: "gc", dryRun: !did, at, rules, ...gcTotals(report) });
  for (const line of gcText(report, did)) output.line(line);
}

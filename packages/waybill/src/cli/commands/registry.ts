// waybill registry …: an owner looks through the room's registry, and makes it again when it is damaged.
import type { RegistryReport } from "@waybill/sdk/protocol";
import { Command } from "commander";
import type { Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { withRoom } from "../options.ts";
import type { Runner } from "../runner.ts";

export function registryCommand(run: Runner): Command {
  const registry = new Command("registry").description(
    "look through a room's registry; make a damaged one again",
  );
  registry.addCommand(
    withRoom(new Command("check"))
      .description(
        "whether registry, journal and models' bytes are whole (owner); exits with 1 when not",
      )
      .action(run<[]>(check)),
  );
  registry.addCommand(
    withRoom(new Command("rebuild"))
      .option("--dry-run", "only say what would come of it")
      .option(
        "--adopt",
        "enter models whose bytes are there and that nothing names, tagged `recovered`",
      )
      .description("make a damaged registry again from snapshots and journal (owner)")
      .action(run<[], { dryRun?: boolean; adopt?: boolean }>(rebuild)),
  );
  return registry;
}

async function check(context: Context): Promise<number> {
  const room = await context.room();
  const hub = await context.client(room);
  const report = await hub.call("checkRegistry", { params: { room } }, { signal: context.signal });
  const bad = problemsOf(report);
  context.output.record({ ok: bad.length === 0, ...report });
  context.output.line(
    report.damage === undefined
      ? `registry of room ${room}: ${countsOf(report)}`
      : `the registry of room ${room} is damaged: ${report.damage}\nsnapshot and journal still tell of ${countsOf(report)}`,
  );
  for (const line of [...bad, ...remarksOf(report)]) context.output.line(`  ${line}`);
  if (report.damage !== undefined) {
    context.output.line(
      "make it again with `waybill registry rebuild` (--dry-run shows what would come of it)",
    );
  }
  return bad.length === 0 ? EXIT.ok : EXIT.failed;
}

async function rebuild(
  context: Context,
  _: [],
  options: { dryRun?: boolean; adopt?: boolean },
): Promise<void> {
  const room = await context.room();
  const hub = await context.client(room);
  const body = { dryRun: options.dryRun === true, adopt: options.adopt === true };
  const made = await hub.call(
    "rebuildRegistry",
    { params: { room }, body },
    { signal: context.signal },
  );
  const { report, written, adopted, kept } = made;
  context.output.record({ ...made, dryRun: body.dryRun });
  const what = written ? "rebuilt" : body.dryRun ? "would be" : "is as it should be";
  context.output.line(`registry of room ${room} ${what}: ${countsOf(report)}`);
  for (const id of adopted)
    context.output.line(`  model ${id} was entered again, tagged recovered`);
  const { damage: _damage, ...rest } = report;
  for (const line of [...problemsOf(rest), ...remarksOf(report)]) context.output.line(`  ${line}`);
  if (kept !== undefined) context.output.line(`  the damaged document is kept at ${kept}`);
  if (!body.adopt && report.without_entry.some(({ model }) => model !== undefined)) {
    context.output.line("  --adopt enters models that nothing names");
  }
}

function countsOf(report: RegistryReport): string {
  const { revision, models, aliases, tombstones, alias_moves } = report;
  return `revision ${revision}, ${models} models, ${aliases} aliases, ${tombstones} removed, ${alias_moves} alias moves`;
}

/** What keeps a registry from being whole. */
function problemsOf(report: RegistryReport): string[] {
  return [
    ...(report.damage === undefined ? [] : [`damaged: ${report.damage}`]),
    ...report.holes.map(
      ([first, last]) =>
        `${first === last ? `revision ${first} is` : `revisions ${first}–${last} are`} lost: what changed then is not known from the journal`,
    ),
    ...report.unreadable.map((what) => `cannot be used: ${what}`),
    ...report.lost_aliases.map((alias) => `alias lost with its model: ${alias}`),
    ...report.without_bytes.map((id) => `model ${id}: its files are not all in the store`),
  ];
}

function remarksOf({ without_entry: places }: RegistryReport): string[] {
  return places.map(({ place }) => `${place} holds a model that nothing names`);
}

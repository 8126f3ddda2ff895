// waybill room retention: which models a room keeps.
import { Command, InvalidArgumentError } from "commander";
import { ModelType, type RetentionChange, WaybillError, decodeValue } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { collectPairs, duration, wholeNumber, withRoom } from "../options.ts";
import { rulesText } from "../render/gc-view.ts";
import type { Runner } from "../runner.ts";

/** What takes a rule away; commander makes an empty text of a parser's null. */
const NONE = "none";
type OrNone = number | typeof NONE;

type RetentionOptions = {
  readonly keepPerType?: OrNone;
  readonly type?: Record<string, string>;
  readonly untaggedDays?: OrNone;
  readonly grace?: number;
  readonly clear?: boolean;
};

const HOUR_MS = 3_600_000;

export function retentionCommand(run: Runner): Command {
  return withRoom(new Command("retention"))
    .option(
      "--keep-per-type <n>",
      "keep the newest so many of each type; `none`: any number",
      count,
    )
    .option("--type <type=n>", "another number for one type, or `none` (repeatable)", collectPairs)
    .option(
      "--untagged-days <days>",
      "keep models that nobody tagged so long; `none`: for ever",
      days,
    )
    .option("--grace <time>", "how long a removed model can be restored, like 7d", duration)
    .option("--clear", "take all rules away first")
    .description("show, or as owner set, which models the room keeps")
    .action(run<[], RetentionOptions>(retention));
}

function count(value: string): OrNone {
  return value === NONE ? NONE : wholeNumber(0)(value);
}

function days(value: string): OrNone {
  if (value === NONE) return NONE;
  const number = Number(value.replace(/d$/, ""));
  if (value !== "" && Number.isFinite(number) && number >= 0) return number;
  throw new InvalidArgumentError("it is a number of days, or none");
}

async function retention(context: Context, _: [], options: RetentionOptions): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const hub = await context.client(room);
  const params = { room };
  const change = changeOf(options);
  const rules =
    change === undefined
      ? await hub.call("showRetention", { params }, { signal })
      : await hub.call("setRetention", { params, body: change }, { signal });
  output.record({ room, ...rules });
  output.line(`room ${room}  ${rulesText(rules)}`);
  output.line(
    "aliased, protected and pinned models, latest-{type} and parts of kept pipelines stay",
  );
  if (change !== undefined) output.note("see what would go now: waybill gc --dry-run");
}

/** What to change; undefined when nothing is asked. */
function changeOf(options: RetentionOptions): Partial<RetentionChange> | undefined {
  const { keepPerType, type, untaggedDays, grace, clear } = options;
  const perType: RetentionChange["per_type"] = {};
  for (const [name, value] of Object.entries(type ?? {})) {
    const modelType = decodeValue(ModelType, name, `--type ${name}`);
    perType[modelType] = typeCount(name, value);
  }
  const change = {
    ...(clear === true ? { clear } : {}),
    ...(keepPerType === undefined ? {} : { keep_per_type: ruleOf(keepPerType) }),
    ...(type === undefined ? {} : { per_type: perType }),
    ...(untaggedDays === undefined ? {} : { untagged_days: ruleOf(untaggedDays) }),
    ...(grace === undefined ? {} : { grace_hours: grace / HOUR_MS }),
  };
  return Object.keys(change).length === 0 ? undefined : change;
}

function ruleOf(given: OrNone): number | null {
  return given === NONE ? null : given;
}

function typeCount(name: string, value: string): number | null {
  try {
    return ruleOf(count(value));
  } catch {
    throw new WaybillError("invalid_request", `--type ${name}=${value}: ${value} is no number`, {
      hint: "it looks like centroid=3, or centroid=none",
    });
  }
}

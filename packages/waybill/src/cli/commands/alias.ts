// waybill alias …: the names of models: where they point, how they got there, who may move them.
import { rollbackAlias } from "@waybill/sdk/client";
import {
  Alias,
  type AliasMoved,
  AliasState,
  ModelId,
  ModelRef,
  type RouteOutput,
  decodeValue,
  readMetricGate,
} from "@waybill/sdk/protocol";
import { Command } from "commander";
import type { Context } from "../context.ts";
import { personName } from "../live.ts";
import { wholeNumber, withRoom } from "../options.ts";
import { movedText, whoOf, whyText } from "../render/alias-view.ts";
import { formatTime, oneLine, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";

type SetOptions = { readonly expect?: string; readonly if?: string; readonly why?: string };
type RemoveOptions = { readonly expect?: string; readonly why?: string };
type WhyOption = { readonly why?: string };

/** Rows of one request. */
const PAGE_ROWS = 500;
const RULES = "1–64 of A–Z, a–z, 0–9, '.', '_', '-'";
const MODEL = "id, alias or latest-{type}";

export function aliasCommand(run: Runner): Command {
  const alias = new Command("alias").description(
    "names of models: move them, and see how they moved",
  );
  alias.addCommand(
    withRoom(new Command("ls"))
      .argument("[pattern]", "only names that match; * stands for any characters, ? for one")
      .description("the room's aliases, where they point, and their last moves")
      .action(run<[string | undefined]>(list)),
  );
  alias.addCommand(
    withMove(new Command("set").argument("<alias>", RULES).argument("<model>", MODEL))
      .description("point an alias at a model")
      .action(run<[string, string], SetOptions>(set)),
  );
  alias.addCommand(
    withRoom(new Command("rm"))
      .argument("<alias>", "the name")
      .option("--expect <id>", "only if it points at this model now")
      .option("--why <text>", "kept in its history; needed when it is protected")
      .description("remove an alias; its history stays, and rollback brings it back")
      .action(run<[string], RemoveOptions>(remove)),
  );
  alias.addCommand(
    withRoom(new Command("history"))
      .argument("<alias>", "the name")
      .option("--limit <n>", "only the newest so many records", wholeNumber(1))
      .description("every move of an alias: who, when, from, to, why, and under which condition")
      .action(run<[string], { limit?: number }>(history)),
  );
  alias.addCommand(
    withRoom(new Command("rollback"))
      .argument("<alias>", "the name")
      .option("--why <text>", "kept in its history")
      .description("point an alias where it pointed before its last move")
      .action(run<[string], WhyOption>(rollback)),
  );
  for (const [word, wanted, text] of [
    ["protect", true, "leave aliases, or names to come, to the room's owner alone (owner only)"],
    ["unprotect", false, "let every member move aliases again (owner only)"],
  ] as const) {
    alias.addCommand(
      withRoom(new Command(word))
        .argument("<aliases...>", "the names")
        .option("--why <text>", "kept in their history")
        .description(text)
        .action(run<[string[]], WhyOption>((...given) => protect(wanted, ...given))),
    );
  }
  return alias;
}

/** `waybill model alias`: `alias set` and `alias rm` under one name. */
export function modelAliasCommand(run: Runner): Command {
  return withMove(
    new Command("alias")
      .argument("<alias>", RULES)
      .argument("[model]", `${MODEL}; none with --remove`),
  )
    .option("--remove", "remove the alias; its history stays")
    .description("point an alias at a model, as `waybill alias set`")
    .action(
      run<[string, string | undefined], SetOptions & { readonly remove?: boolean }>(
        (context, [name, model], options) =>
          options.remove === true
            ? remove(context, [name], options)
            : set(context, [name, model], options),
      ),
    );
}

function withMove(command: Command): Command {
  return withRoom(command)
    .option("--expect <id>", "only if it points at this model now; none: only if it does not exist")
    .option("--if <condition>", "only if the model's metrics are so: 'val_loss < current'")
    .option("--why <text>", "kept in its history; needed, or --if, when it is protected");
}

const aliasOf = (name: string) => decodeValue(Alias, name, `alias ${JSON.stringify(name)}`);
const whyOf = ({ why }: WhyOption) => ({
  by: personName(),
  ...(why === undefined ? {} : { why }),
});

async function list(context: Context, [pattern]: [string | undefined]): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const hub = await context.client(room);
  const rows: string[][] = [];
  let page: RouteOutput<"listAliases"> | undefined;
  do {
    const after = page?.aliases.at(-1)?.alias;
    const query = {
      limit: String(PAGE_ROWS),
      ...(pattern === undefined ? {} : { alias: pattern }),
      ...(after === undefined ? {} : { after }),
    };
    page = await hub.call("listAliases", { params: { room }, query }, { signal });
    for (const one of page.aliases) {
      output.record({ type: "alias", ...one });
      rows.push([
        one.alias,
        one.model ?? "–",
        one.model_type ?? "–",
        one.protected ? "protected" : one.automatic ? "automatic" : "",
        one.moved === undefined ? "" : formatTime(one.moved.when),
        one.moved === undefined ? "" : whoOf(one.moved),
        oneLine(one.moved?.why ?? ""),
      ]);
    }
  } while (page.more);
  output.line(
    rows.length === 0
      ? `no aliases in room ${room}${pattern === undefined ? " yet" : " match"}`
      : table([["ALIAS", "MODEL", "TYPE", "", "MOVED (UTC)", "BY", "WHY"], ...rows]),
  );
}

async function set(
  context: Context,
  [name, model]: [string, string | undefined],
  options: SetOptions,
): Promise<void> {
  const room = await context.room();
  const params = { room, alias: aliasOf(name) };
  const { expect, if: gate } = options;
  if (gate !== undefined) readMetricGate(gate, "--if");
  const body = {
    model: decodeValue(ModelRef, model, "the model to point the alias at"),
    ...(expect === undefined
      ? {}
      : { expect: decodeValue(AliasState, expect, `--expect ${expect}`) }),
    ...(gate === undefined ? {} : { if: gate }),
    ...whyOf(options),
  };
  const hub = await context.client(room);
  report(context, await hub.call("setAlias", { params, body }, { signal: context.signal }));
}

async function remove(context: Context, [name]: [string], options: RemoveOptions): Promise<void> {
  const { signal } = context;
  const room = await context.room();
  const params = { room, alias: aliasOf(name) };
  const hub = await context.client(room);
  const now =
    options.expect === undefined
      ? (await hub.call("aliasHistory", { params, query: { limit: "1" } }, { signal })).model
      : decodeValue(ModelId, options.expect, "--expect");
  const query = { ...whyOf(options), ...(now === undefined ? {} : { expect: now }) };
  const { from } = await hub.call("removeAlias", { params, query }, { signal });
  context.output.record({ alias: name, removed: true, from });
  context.output.line(`alias ${name} removed (it was ${from})`);
}

async function history(
  context: Context,
  [name]: [string],
  { limit = Infinity }: { limit?: number },
): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const params = { room, alias: aliasOf(name) };
  const hub = await context.client(room);
  const rows: string[][] = [];
  let page: RouteOutput<"aliasHistory"> | undefined;
  do {
    const before = page?.moves.at(-1)?.n;
    const query = {
      limit: String(Math.min(PAGE_ROWS, limit - rows.length)),
      ...(before === undefined ? {} : { before: String(before) }),
    };
    page = await hub.call("aliasHistory", { params, query }, { signal });
    for (const record of page.moves) {
      output.record({ type: "alias_move", ...record });
      rows.push([
        String(record.n),
        formatTime(record.when),
        whoOf(record),
        movedText(record),
        whyText(record),
      ]);
    }
  } while (page.more && rows.length < limit);
  const state = page.protected ? ", protected" : "";
  output.line(`${name} → ${page.model ?? "nothing"}${state}`);
  if (rows.length > 0) output.line(table([["#", "WHEN (UTC)", "WHO", "MOVE", "WHY"], ...rows]));
}

async function rollback(context: Context, [name]: [string], { why }: WhyOption): Promise<void> {
  const { signal } = context;
  const room = await context.room();
  const alias = aliasOf(name);
  const hub = await context.client(room);
  report(context, await rollbackAlias(hub, { room, alias, why, by: personName(), signal }));
}

async function protect(
  wanted: boolean,
  context: Context,
  [names]: [string[]],
  options: WhyOption,
): Promise<void> {
  const room = await context.room();
  const aliases = names.map(aliasOf);
  const hub = await context.client(room);
  const body = { protected: wanted, ...whyOf(options) };
  for (const alias of aliases) {
    const params = { room, alias };
    const done = await hub.call("protectAlias", { params, body }, { signal: context.signal });
    context.output.record(done);
    const state = wanted ? "is protected: only the owner moves it" : "is not protected";
    context.output.line(`${alias} ${state} (→ ${done.model ?? "nothing"})`);
  }
}

function report({ output }: Context, moved: AliasMoved): void {
  output.record(moved);
  const { alias, model, from, gate } = moved;
  const before = from === model ? " already" : from === undefined ? "" : ` (was ${from})`;
  output.line(`${alias} → ${model}${before}`);
  if (gate !== undefined) output.line(`  ${gate}`);
}

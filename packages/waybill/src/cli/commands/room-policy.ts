// waybill room policy|usage: which ways the peers of a room may take to each other, and what they have relayed.
import { Command, InvalidArgumentError, Option } from "commander";
import type { RouteOutput } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { byteSize, withRoom } from "../options.ts";
import { formatBytes, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";

type PolicyOptions = {
  readonly relayOnly?: boolean;
  readonly directFirst?: boolean;
  /** `default`: what the hub's operator set. */
  readonly relayBudget?: number | "default";
};

export function policyCommand(run: Runner): Command {
  return withRoom(new Command("policy"))
    .addOption(
      new Option(
        "--relay-only",
        "peers meet at TURN servers only: none learns another's address",
      ).conflicts("directFirst"),
    )
    .option("--direct-first", "peers talk directly where they can")
    .option(
      "--relay-budget <size>",
      "bytes that may be relayed on one day (UTC), like 5GB; `default` for the hub's own",
      budget,
    )
    .description("show, or as owner set, how the room's peers may reach each other")
    .action(run<[], PolicyOptions>(policy));
}

export function usageCommand(run: Runner): Command {
  return withRoom(new Command("usage"))
    .option("--day <date>", "a day (UTC) like 2026-01-31 (default: today)", date)
    .description("bytes that the room's peers moved through TURN servers")
    .action(run<[], { day?: string }>(usage));
}

function date(value: string): string {
  if (/^\d{4}-\d{2}-\d{2}$/.test(value) && !Number.isNaN(Date.parse(value))) return value;
  throw new InvalidArgumentError("it looks like 2026-01-31");
}

function budget(value: string): number | "default" {
  if (value === "default") return value;
  try {
    return byteSize(value);
  } catch {
    throw new InvalidArgumentError("it looks like 5GB, or is default");
  }
}

async function policy(context: Context, _: [], options: PolicyOptions): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const client = await context.client(room);
  const { relayOnly, directFirst, relayBudget } = options;
  const body = {
    ...(relayOnly === true ? { icePolicy: "relay" as const } : {}),
    ...(directFirst === true ? { icePolicy: "all" as const } : {}),
    ...(relayBudget === undefined
      ? {}
      : { relayBudgetBytes: relayBudget === "default" ? null : relayBudget }),
  };
  const params = { room };
  const now =
    Object.keys(body).length === 0
      ? (await client.call("showRoom", { params }, { signal })).policy
      : await client.call("setRoomPolicy", { params, body }, { signal });
  output.record({ room, ...now });
  output.line(`room ${room}  ${policyText(now)}`);
}

function policyText({ icePolicy, relayBudgetBytes }: RouteOutput<"setRoomPolicy">): string {
  const ways =
    icePolicy === "relay" ? "relay only: peers meet at TURN servers" : "direct first, then TURN";
  const bound =
    relayBudgetBytes === undefined
      ? "without a bound"
      : `at most ${formatBytes(relayBudgetBytes)} a day`;
  return `${ways}; relayed bytes: ${bound}`;
}

async function usage(context: Context, _: [], options: { day?: string }): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const client = await context.client(room);
  const input = { params: { room }, query: options };
  const { budget: total, peers } = await client.call("relayUsage", input, { signal });
  output.record({ room, ...total, peers });
  const { day, usedBytes, budgetBytes, exhausted } = total;
  const bound = budgetBytes === undefined ? "" : ` of ${formatBytes(budgetBytes)}`;
  const end = exhausted ? "; used up: relays carry control messages only" : "";
  output.line(`room ${room}  ${day}  relayed ${formatBytes(usedBytes)}${bound}${end}`);
  if (peers.length === 0) return;
  const rows = peers.map((one) => [
    one.peerId,
    one.name ?? "",
    formatBytes(one.sentBytes),
    formatBytes(one.receivedBytes),
  ]);
  output.line(table([["PEER", "NAME", "SENT", "RECEIVED"], ...rows]));
}

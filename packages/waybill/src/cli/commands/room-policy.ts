// waybill room policy: which ways the peers of a room may take to each other.
import { Command, InvalidArgumentError, Option } from "commander";
import type { RouteOutput } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { byteSize, withRoom } from "../options.ts";
import { formatBytes } from "../render/format.ts";
import type { Runner } from "../runner.ts";

type PolicyOptions = {
  readonly relayOnly?: boolean;
  readonly directFirst?: boolean;
  /** `null`: what the hub's operator set. */
  readonly relayBudget?: number | null;
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

function budget(value: string): number | null {
  if (value === "default") return null;
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
    ...(relayBudget === undefined ? {} : { relayBudgetBytes: relayBudget }),
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

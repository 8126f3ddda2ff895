// The options that say where a download takes its bytes from, and how fast.
import { type Command, InvalidArgumentError } from "commander";
import type { PullOptions } from "@waybill/sdk/client";
import { createByteTransport } from "@waybill/sdk/platform";
import { messageOf } from "@waybill/sdk/protocol";
import { parseRateLimit } from "@waybill/sdk/timing";
import { address, collect, duration } from "./options.ts";

export type SourcePolicy = {
  readonly prefer?: NonNullable<PullOptions["prefer"]>;
  readonly mirror?: readonly string[];
  readonly limitDown?: ReturnType<typeof parseRateLimit>;
  /** `false`: no worker and no cache proxy of the room is asked. */
  readonly peers?: boolean;
  readonly explain?: boolean;
};

/** Adds --prefer, --mirror, --no-peers, --limit-down and --explain. */
export function withSourcePolicy(command: Command): Command {
  return command
    .option(
      "--prefer <policy>",
      "cheap: the store only for what peers, mirrors and caches lack (default); fast: all at once; deadline=10m: cheap while that is in time",
      preference,
    )
    .option(
      "--mirror <url>",
      "web server with the artifact's files below this address; may be repeated",
      (url: string, earlier?: string[]) => collect(address(url), earlier),
    )
    .option(
      "--no-peers",
      "ask no worker and no cache proxy of the room: only mirrors and the store",
    )
    .option(
      "--limit-down <rate>",
      "bytes a second at most, as 512K, or by time: 08:00,512K 19:00,off",
      rateLimit,
    )
    .option("--explain", "say why each source was used, or not");
}

/** What of it a pull takes. The transport is the caller's to close. */
export function pullPolicy(policy: SourcePolicy): Pick<
  PullOptions,
  "prefer" | "mirrors" | "holders"
> & {
  readonly transport: NonNullable<PullOptions["transport"]>;
} {
  const { prefer, mirror = [], limitDown, peers = true } = policy;
  return {
    mirrors: mirror,
    holders: { which: peers ? "all" : "none" },
    transport: createByteTransport(limitDown === undefined ? {} : { limits: { down: limitDown } }),
    ...(prefer === undefined ? {} : { prefer }),
  };
}

/** `cheap`, `fast`, or `deadline=` and a time. */
export function preference(text: string): NonNullable<SourcePolicy["prefer"]> {
  if (text === "cheap" || text === "fast") return text;
  const time = /^deadline=(.+)$/.exec(text)?.[1];
  if (time === undefined) throw new InvalidArgumentError("it is cheap, fast or deadline=10m");
  return { deadlineMs: duration(time) };
}

/** `512K`, or by time. */
export function rateLimit(text: string): ReturnType<typeof parseRateLimit> {
  try {
    return parseRateLimit(text);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}

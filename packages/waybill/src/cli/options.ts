// Options that many commands share, declared once so that help and meaning are the same everywhere.
import { ProgressFormat } from "@waybill/sdk/protocol";
import { type Command, InvalidArgumentError, Option } from "commander";
import * as v from "valibot";

/** --hub, --data, --json, --debug. */
export function withCommon(command: Command): Command {
  return command
    .addOption(
      new Option("--hub <url>", "address of the hub (WAYBILL_HUB; default http://127.0.0.1:8700)"),
    )
    .addOption(
      new Option(
        "--data <dir>",
        "where this machine keeps its data (WAYBILL_DATA; default: the platform's data folder)",
      ),
    )
    .addOption(new Option("--json", "print one JSON object a line instead of text"))
    .addOption(new Option("--debug", "print where an error happened"));
}

/** The common ones and --room. */
export function withRoom(command: Command): Command {
  return withCommon(command.addOption(new Option("-r, --room <name>", "the room (WAYBILL_ROOM)")));
}

/** Collects a repeated option. */
export function collect(value: string, earlier: string[] = []): string[] {
  return [...earlier, value];
}

/** `key=value`, repeated, into a record. */
export function collectPairs(
  value: string,
  earlier: Record<string, string> = {},
): Record<string, string> {
  const at = value.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("it looks like key=value");
  return { ...earlier, [value.slice(0, at)]: value.slice(at + 1) };
}

/** `KEY=VALUE`, or `KEY` for the value it has here, which then appears in no list of processes. */
export function collectEnvironment(
  value: string,
  earlier: Record<string, string> = {},
): Record<string, string> {
  if (value.includes("=")) return collectPairs(value, earlier);
  const own = process.env[value];
  if (own === undefined) throw new InvalidArgumentError(`${value} is not set here`);
  return { ...earlier, [value]: own };
}

/** A path; an empty one, as of a shell variable that is not set, would mean the current folder. */
export function filePath(value: string): string {
  if (value === "") throw new InvalidArgumentError("it is empty; . is the current folder");
  return value;
}

/** A whole number of at least `least`. */
export function wholeNumber(least: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!Number.isSafeInteger(number) || number < least) {
      throw new InvalidArgumentError(`it is a whole number of at least ${least}`);
    }
    return number;
  };
}

/** How a trainer tells its progress: `json`, `sleap`, `csv` or `csv:PATH`. */
export function progressFormat(value: string): ProgressFormat {
  const [format, ...path] = value.split(":");
  const given = path.length === 0 ? { format } : { format, path: path.join(":") };
  const parsed = v.safeParse(ProgressFormat, given);
  if (!parsed.success && format === "csv" && path.join(":") !== "") {
    throw new InvalidArgumentError(parsed.issues[0].message);
  }
  if (!parsed.success || (format !== "csv" && path.length > 0)) {
    throw new InvalidArgumentError("it is json, sleap, csv or csv:PATH");
  }
  return parsed.output;
}

/** A TCP port, 0 for any free one. */
export function port(value: string): number {
  const number = wholeNumber(0)(value);
  if (number > 65_535) throw new InvalidArgumentError("it is a port, at most 65535");
  return number;
}

/** An http or https address without a trailing slash. */
export function address(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new InvalidArgumentError("it looks like http://host:port");
  }
  // I10: others see a process's arguments, and addresses are shown.
  if (url.username !== "" || url.password !== "") {
    throw new InvalidArgumentError("an address has no user or password in it");
  }
  return value.replace(/\/+$/, "");
}

/** `90s`, `30m`, `2h`, `7d` in milliseconds. */
export function duration(value: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(value);
  const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  const unit = match?.[2];
  if (match?.[1] === undefined || unit === undefined || !(unit in units)) {
    throw new InvalidArgumentError("it looks like 90s, 30m, 2h or 7d");
  }
  return Number(match[1]) * units[unit as keyof typeof units];
}

const SIZE_UNITS = new Map([
  ["", 1],
  ["k", 1024],
  ["m", 1024 ** 2],
  ["g", 1024 ** 3],
  ["t", 1024 ** 4],
]);

/** `500M`, `24G` in bytes (binary units). */
export function byteSize(value: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/i.exec(value);
  const unit = SIZE_UNITS.get(match?.[2]?.toLowerCase() ?? "?");
  if (match?.[1] === undefined || unit === undefined)
    throw new InvalidArgumentError("it looks like 500M or 24G");
  return Math.round(Number(match[1]) * unit);
}

/** As `byteSize`, or `20%` of the disk it is about. */
export function diskAmount(value: string): number | { readonly percent: number } {
  const match = /^(\d{1,3}(?:\.\d+)?)%$/.exec(value);
  if (match === null) return byteSize(value);
  const percent = Number(match[1]);
  if (percent > 100) throw new InvalidArgumentError("it is at most 100%");
  return { percent };
}

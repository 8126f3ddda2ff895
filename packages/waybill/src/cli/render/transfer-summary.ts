// The one line a finished transfer leaves: `pushed digits a1b2c3d4 · 1.00 GiB in 12.3 s · 83.2 MiB/s · sent 310 MiB, …`.
import { formatBytes, formatRate, formatSeconds } from "./format.ts";
import { plural, reasons } from "./progress-lines.ts";

export type TransferSummary = {
  readonly verb: "pushed" | "pulled";
  readonly name: string;
  readonly artifact: string;
  readonly bytes: number;
  readonly seconds: number;
  /** Push: bytes put on the wire. */
  readonly sentBytes?: number;
  /** Pull: bytes that came over the wire. */
  readonly receivedBytes?: number;
  readonly saved?: Readonly<Record<string, number>>;
  /** Pull: bytes by source. */
  readonly sources?: Readonly<Record<string, number>>;
  readonly retries?: number;
};

/** Digits of an id that people can tell apart. */
const SHORT_ID = 8;

/** One line; what is nothing is not mentioned. */
export function summaryLine(summary: TransferSummary): string {
  const { verb, name, artifact, bytes, seconds, saved = {}, sources, retries = 0 } = summary;
  const savedBytes = Object.values(saved).reduce((sum, one) => sum + one, 0);
  const wire = [
    summary.sentBytes === undefined ? "" : `sent ${formatBytes(summary.sentBytes)}`,
    summary.receivedBytes === undefined ? "" : `received ${formatBytes(summary.receivedBytes)}`,
    savedBytes > 0 ? `saved ${formatBytes(savedBytes)}${reasons(saved)}` : "",
  ].filter((text) => text !== "");
  return [
    `${verb} ${name} ${artifact.slice(0, SHORT_ID)}`,
    `${formatBytes(bytes)} in ${formatSeconds(seconds)}`,
    formatRate(bytes, seconds),
    wire.join(", "),
    Object.entries(sources ?? {})
      .filter(([, one]) => one > 0)
      .map(([source, one]) => `${formatBytes(one)} from ${source}`)
      .join(", "),
    retries > 0 ? plural(retries, "retry", "retries") : "",
  ]
    .filter((text) => text !== "")
    .join(" · ");
}

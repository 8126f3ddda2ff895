// What `--explain` prints: why each source of a pull was used, or not.
import type { SourceReport } from "@waybill/sdk/client";
import { formatBytes, formatSeconds, printable, table } from "./format.ts";

/**
 * A table of figures, a row for each source, and below it a sentence for each. Without a report the command ended
 * before it came to sources.
 */
export function sourceReport(report: readonly SourceReport[] | undefined): string {
  if (report === undefined) return "no source was asked: the command ended before that";
  if (report.length === 0) return "no source was asked: everything was there already";
  const head = [
    "SOURCE",
    "BYTES",
    "SHARE",
    "RATE",
    "ANSWER",
    "REQUESTS",
    "RETRIES",
    "HEDGES",
    "WASTED",
  ];
  const rows = report.map((one) => [
    printable(one.source),
    formatBytes(one.bytes),
    `${Math.round(one.share * 100)} %`,
    one.bytesPerSecond === undefined ? "–" : `${formatBytes(one.bytesPerSecond)}/s`,
    one.firstByteMs === undefined ? "–" : formatSeconds(one.firstByteMs / 1000),
    String(one.requests),
    String(one.retries),
    one.hedges === 0 ? "0" : `${one.hedgesWon} of ${one.hedges} won`,
    formatBytes(one.wastedBytes),
  ]);
  const reasons = report.map(({ source, why }) => printable(`${source}: ${why}`));
  return [table([head, ...rows]), ...reasons].join("\n");
}

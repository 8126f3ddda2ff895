// A reading of a transfer as one or two lines that fit the terminal, the most important facts first. Pure.
import { bar, formatBytes, formatRate, formatSeconds } from "./format.ts";
import type { TransferReading } from "./transfer-meter.ts";

const GAP = "  ";
const MAX_BAR = 24;
const MIN_BAR = 6;
const MAX_LABEL = 28;
/** Below this only percent, rate and time are shown. */
const NARROW = 44;
/** A pause this long is worth a word. */
const STALLED_SECONDS = 5;

/** One line, and a second one when there is more to say; none longer than `width` characters. */
export function progressLines(reading: TransferReading, label: string, width: number): string[] {
  const second = detailLine(reading, width);
  return [mainLine(reading, label, width), ...(second === "" || width < NARROW ? [] : [second])];
}

/** The same facts in one line of any length, for logs. */
export function progressText(reading: TransferReading, label: string): string {
  return [
    label,
    percent(reading),
    amount(reading),
    rate(reading),
    eta(reading),
    ...details(reading),
  ]
    .filter((text) => text !== "")
    .join(GAP);
}

function mainLine(reading: TransferReading, label: string, width: number): string {
  const figures = [percent(reading), amount(reading), rate(reading), eta(reading)];
  if (width < NARROW) {
    return cut([percent(reading), rate(reading), eta(reading)].join(" "), width);
  }
  const text = figures.join(GAP);
  const left = width - text.length - GAP.length;
  const name = cut(label, Math.min(MAX_LABEL, Math.max(0, left - MIN_BAR - GAP.length)));
  const room = left - (name === "" ? 0 : length(name) + GAP.length);
  const drawn = room >= MIN_BAR ? bar(reading.share, Math.min(MAX_BAR, room)) : "";
  return cut([name, drawn, text].filter((part) => part !== "").join(GAP), width);
}

/** As many details as fit, in the order of what they mean for who waits. */
function detailLine(reading: TransferReading, width: number): string {
  let line = "";
  for (const detail of details(reading)) {
    const next = line === "" ? `${GAP}${detail}` : `${line}${GAP}${detail}`;
    if (next.length <= width) line = next;
  }
  return line;
}

function details(reading: TransferReading): string[] {
  const { idleSeconds, retries = 0, inFlight = 0, share, savedBytes, saved, sources } = reading;
  const stalled = idleSeconds >= STALLED_SECONDS && share < 1;
  return [
    stalled ? `nothing for ${formatSeconds(idleSeconds)}` : "",
    retries > 0 ? plural(retries, "retry", "retries") : "",
    savedBytes > 0 ? `saved ${formatBytes(savedBytes)}${reasons(saved)}` : "",
    shares(sources),
    inFlight > 0 ? `${inFlight} in flight` : "",
  ].filter((text) => text !== "");
}

/** ` (copied)`, or ` (held 20.0 MiB, copied 690 MiB)` where there are several reasons. */
export function reasons(saved: Readonly<Record<string, number>> = {}): string {
  const entries = Object.entries(saved).filter(([, bytes]) => bytes > 0);
  if (entries.length === 0) return "";
  const [only, ...others] = entries.map(([reason, bytes]) =>
    entries.length === 1 ? reason : `${reason} ${formatBytes(bytes)}`,
  );
  return ` (${[only, ...others].join(", ")})`;
}

/** `s3 70 %, cache 30 %`, the biggest first. */
function shares(sources: Readonly<Record<string, number>> = {}): string {
  const used = Object.entries(sources).filter(([, bytes]) => bytes > 0);
  const total = used.reduce((sum, [, bytes]) => sum + bytes, 0);
  return used
    .sort(([, a], [, b]) => b - a)
    .map(([source, bytes]) => `${source} ${Math.round((bytes / total) * 100)} %`)
    .join(", ");
}

export function plural(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

function percent({ share }: TransferReading): string {
  // Not 100 before it is over.
  return `${String(share < 1 ? Math.min(99, Math.floor(share * 100)) : 100).padStart(3)} %`;
}

function amount({ bytes, total }: TransferReading): string {
  return `${formatBytes(bytes)} of ${formatBytes(total)}`;
}

function rate({ rateBytesPerSecond }: TransferReading): string {
  return formatRate(rateBytesPerSecond, 1);
}

function eta({ etaSeconds }: TransferReading): string {
  return `ETA ${etaSeconds === undefined ? "–" : formatSeconds(etaSeconds)}`;
}

function length(text: string): number {
  return Array.from(text).length;
}

function cut(text: string, width: number): string {
  const characters = Array.from(text);
  if (characters.length <= width) return text;
  return width < 1 ? "" : `${characters.slice(0, width - 1).join("")}…`;
}

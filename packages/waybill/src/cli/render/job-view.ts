// A job as it runs: events in, a block of status lines (on a terminal) or lasting plain lines out.
import { newEta, nextEta, remainingMs } from "@waybill/sdk/client";
import type { JobEvent, JobEventOf, JobState, SystemSample } from "@waybill/sdk/protocol";
import { predictionLines, resultLines } from "./result-lines.ts";
import { bar, formatAge, formatBytes, formatRate, formatValue } from "./format.ts";

/** Keys shown as progress rather than as metrics: the one that counts and the one it counts to. */
const COUNTERS = [
  ["epoch", ["epochs", "total_epochs", "num_epochs", "max_epochs"]],
  ["batch", ["batches", "total_batches", "num_batches"]],
  ["step", ["steps", "total_steps", "max_steps"]],
] as const;
const HIDDEN = new Set(["type", "time", "timestamp", "t"]);
const SPARK = "▁▂▃▄▅▆▇█";
/** Points of a sparkline. */
const SPARK_POINTS = 40;
/** Plain output prints a metric line at most this often, so that logs stay readable. */
const PLAIN_METRIC_MS = 2000;
/** And a line about a transfer under way, as `push` and `pull` do without a terminal. */
const PLAIN_TRANSFER_MS = 10_000;

export class JobView {
  readonly #job: string;
  #state: JobState = "queued";
  #reason: string | undefined;
  #worker: string | undefined;
  #path: string | undefined;
  #latest: Record<string, unknown> = {};
  #losses: number[] = [];
  #system: SystemSample | undefined;
  #transfer: string | undefined;
  #logs: string[] = [];
  #predicted: readonly unknown[] = [];
  #counts: JobEventOf<"result">["predictions"];
  #metricCount = 0;
  #lastPlainMs = -Infinity;
  /** When a transfer was last told, by what it moves. */
  readonly #movedMs = new Map<string, number>();
  #eta = newEta();
  readonly #now: () => number;
  readonly #wallNow: () => number;

  /** `now` never goes back; `wallNow` is the time of day, in milliseconds since 1970. */
  constructor(job: string, now = () => performance.now(), wallNow = Date.now) {
    this.#job = job;
    this.#now = now;
    this.#wallNow = wallNow;
  }

  /** The job's configuration: it may say how many epochs or steps there will be. */
  configured(config: Readonly<Record<string, unknown>>): void {
    this.#eta = { ...this.#eta, config };
  }

  /** How events reach this viewer, for the title. */
  via(path: string): void {
    this.#path = path;
  }

  /** Takes one event; the result is the line to print when there is no terminal, if it deserves one. */
  feed(event: JobEvent): string | undefined {
    this.#eta = nextEta(this.#eta, event);
    switch (event.type) {
      case "state":
        this.#state = event.state;
        this.#reason = event.reason;
        this.#worker = event.worker ?? this.#worker;
        return `state    ${event.state}${event.worker === undefined ? "" : ` on ${event.worker}`}${event.reason === undefined ? "" : `: ${event.reason}`}`;
      case "log":
        this.#logs = [...this.#logs, event.line].slice(-4);
        return `${event.stream === "waybill" ? "waybill " : "log     "} ${event.line}`;
      case "metric":
        return this.#metric(event.data);
      case "sample":
        return `sample   ${nameOf(event)} (${event.mime}, ${formatBytes(event.bytes)})`;
      case "checkpoint":
        return `checkpoint ${pairs(event.data)}${event.artifact === undefined ? "" : ` is safe in the room (${formatBytes(event.bytes ?? 0)})`}`;
      case "system":
        this.#system = event.system;
        return undefined;
      case "transfer":
        return this.#moved(event);
      case "command":
        return commandLine(event);
      case "result":
        this.#counts = event.predictions;
        return resultLines(event).join("\n");
      case "predictions":
        return this.#predictions(event);
      case "published":
        return `published model ${event.model}${event.alias === undefined ? "" : ` as ${event.alias}`} (${formatBytes(event.bytes)}) in ${event.s3Path}`;
    }
  }

  #metric(data: Record<string, unknown>): string | undefined {
    this.#latest = { ...this.#latest, ...data };
    this.#metricCount += 1;
    const loss = data["loss"];
    if (typeof loss === "number") this.#losses = [...this.#losses, loss].slice(-SPARK_POINTS * 8);
    const nowMs = this.#now();
    if (nowMs - this.#lastPlainMs < PLAIN_METRIC_MS) return undefined;
    this.#lastPlainMs = nowMs;
    return `metric   ${pairs(data)}`;
  }

  /** Shown once they are complete. */
  #predictions({ first, rows }: JobEventOf<"predictions">): string | undefined {
    this.#predicted = [...this.#predicted.slice(0, first), ...rows];
    const counts = this.#counts;
    if (counts === undefined || this.#predicted.length < counts.rows) return undefined;
    return predictionLines(counts, this.#predicted).join("\n");
  }

  #moved(event: JobEventOf<"transfer">): string | undefined {
    this.#transfer = describeMove(event);
    const key = `${event.what} ${event.direction}`;
    const lastMs = this.#movedMs.get(key) ?? Number.NEGATIVE_INFINITY;
    if (!event.done && this.#now() - lastMs < PLAIN_TRANSFER_MS) return undefined;
    this.#movedMs.set(key, this.#now());
    return `transfer ${this.#transfer}`;
  }

  /** The block for a terminal. */
  lines(): string[] {
    const counters = COUNTERS.flatMap(([key, totals]) => counter(this.#latest, key, totals));
    const leftMs = remainingMs(this.#eta, this.#wallNow());
    if (leftMs !== undefined) counters.push(`about ${formatAge(leftMs)} left`);
    const counted = new Set<string>(COUNTERS.flatMap(([key, totals]) => [key, ...totals]));
    const metrics = Object.entries(this.#latest)
      .filter(([key, value]) => !counted.has(key) && !HIDDEN.has(key) && typeof value === "number")
      .map(([key, value]) => `${key} ${formatValue(value)}`);
    const title = [
      `job ${this.#job}`,
      this.#state,
      this.#worker ?? "",
      this.#path === undefined ? "" : `via ${this.#path}`,
    ];
    const block = [
      title.filter((one) => one !== "").join("  ·  ") +
        (this.#reason === undefined ? "" : `  (${this.#reason})`),
    ];
    if (counters.length > 0) block.push(`  ${counters.join("   ")}`);
    if (metrics.length > 0) block.push(`  ${metrics.join("   ")}`);
    if (this.#losses.length > 1) block.push(`  loss ${sparkline(this.#losses)}`);
    if (this.#system !== undefined) block.push(`  ${systemLine(this.#system)}`);
    if (this.#transfer !== undefined) block.push(`  ${this.#transfer}`);
    for (const line of this.#logs) block.push(`  │ ${line}`);
    return block;
  }

  get metricCount(): number {
    return this.#metricCount;
  }
}

/** As the trainer calls it; the event's own name is the image's digest. */
function nameOf({ data, file }: JobEventOf<"sample">): string {
  const printed = data["file"];
  return typeof printed === "string" ? printed : file;
}

/** `dataset ↓ 3.0 MiB of 23.0 MiB` */
export function describeMove(event: JobEventOf<"transfer">): string {
  const { what, direction, bytes, total, seconds, done } = event;
  const sources = Object.entries(event.sources).filter(([, moved]) => moved > 0);
  const by = sources.length === 0 ? "" : ` via ${sources.map(([kind]) => kind).join("+")}`;
  const rate = done ? `, ${formatRate(bytes, seconds)}` : "";
  return `${what} ${direction === "down" ? "↓" : "↑"} ${formatBytes(bytes)} of ${formatBytes(total)}${by}${rate}`;
}

/** `command  03:04:05 adjust lr=0.01 applied, by ada (member 1bC4x9Zq)` */
function commandLine({ time, name, stage, by, message, values }: JobEventOf<"command">): string {
  const what = values === undefined ? name : `${name} ${pairs(values)}`;
  const why = message === undefined ? "" : `: ${message}`;
  return `command  ${time.slice(11, 19)} ${what} ${stage}, by ${by}${why}`;
}

function counter(
  latest: Record<string, unknown>,
  key: string,
  totals: readonly string[],
): string[] {
  const value = latest[key];
  if (typeof value !== "number") return [];
  const total = totals.map((name) => latest[name]).find((one) => typeof one === "number");
  if (total === undefined || total <= 0) return [`${key} ${value}`];
  return [`${key} ${value}/${total} ${bar(value / total, 16)}`];
}

function pairs(data: Record<string, unknown>): string {
  return Object.entries(data)
    .filter(([key]) => !HIDDEN.has(key))
    .map(([key, value]) => `${key}=${formatValue(value)}`)
    .join(" ");
}

/** Points averaged down to a fixed width. */
export function sparkline(values: readonly number[]): string {
  const finite = values.filter((value) => Number.isFinite(value));
  const low = Math.min(...finite);
  const span = Math.max(...finite) - low;
  const group = Math.max(1, Math.ceil(finite.length / SPARK_POINTS));
  let text = "";
  for (let i = 0; i < finite.length; i += group) {
    const part = finite.slice(i, i + group);
    const mean = part.reduce((sum, value) => sum + value, 0) / part.length;
    text += SPARK[span === 0 ? 0 : Math.round(((mean - low) / span) * (SPARK.length - 1))] ?? "";
  }
  return text;
}

function systemLine(system: SystemSample): string {
  const parts = [
    `cpu ${(system.cpu * 100).toFixed(0)} %`,
    `memory ${formatBytes(system.memoryBytes)} of ${formatBytes(system.memoryTotalBytes)}`,
  ];
  if (system.trainerRssBytes !== undefined)
    parts.push(`trainer ${formatBytes(system.trainerRssBytes)}`);
  if (system.diskFreeBytes !== undefined)
    parts.push(`disk free ${formatBytes(system.diskFreeBytes)}`);
  const { diskReadBytesPerSecond: read, diskWriteBytesPerSecond: written } = system;
  if (read !== undefined && written !== undefined)
    parts.push(`disk ↓ ${formatRate(written, 1)} ↑ ${formatRate(read, 1)}`);
  const { networkInBytesPerSecond: received, networkOutBytesPerSecond: sent } = system;
  if (received !== undefined && sent !== undefined)
    parts.push(`net ↓ ${formatRate(received, 1)} ↑ ${formatRate(sent, 1)}`);
  for (const gpu of system.gpus)
    parts.push(
      `${gpu.name} ${(gpu.utilisation * 100).toFixed(0)} % ${gpu.memoryUsedMb}/${gpu.memoryMb} MB`,
    );
  return parts.join("   ");
}

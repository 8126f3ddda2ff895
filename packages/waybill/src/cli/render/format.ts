// Numbers as people read them. Units are binary for memory and files (KiB, MiB), SI for nothing.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** `1536` → `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 ? String(Math.round(value)) : value.toFixed(value < 10 ? 2 : 1);
  return `${text} ${UNITS[unit] ?? "B"}`;
}

/** Bytes a second. */
export function formatRate(bytes: number, seconds: number): string {
  return seconds <= 0 ? "–" : `${formatBytes(bytes / seconds)}/s`;
}

/** `0.042` → `42 ms`, `75` → `1m 15s`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return h > 0 ? `${h}h ${m}m` : `${m}m ${s}s`;
}

/** How long ago, roughly: `42 s`, `17m`, `3h 5m`, `2d 4h`. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const [d, h, m] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
  ];
  return d > 0 ? `${d}d ${h}h` : h > 0 ? `${h}h ${m}m` : `${m}m`;
}

/** `0.5` → `██████░░░░░░`. */
export function bar(share: number, width = 24): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
  return "█".repeat(filled) + "░".repeat(width - filled);
}

/** A metric's value in at most about eight characters. */
export function formatValue(value: unknown): string {
  if (typeof value !== "number") return typeof value === "string" ? value : JSON.stringify(value);
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1000
    ? value.toFixed(0)
    : size >= 0.001
      ? value.toPrecision(4)
      : value.toExponential(2);
}

/** Columns padded to their widest cell; the first row is the head. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  }
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** A text in one line, for a cell of a table. */
export function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}

/** `2026-01-02T03:04:05.678Z` → `2026-01-02 03:04:05`, UTC. */
export function formatTime(iso: string): string {
  return iso.slice(0, 19).replace("T", " ");
}

// C0 and C1 controls and DEL: what others print must not move this terminal's cursor or write its clipboard.
const CONTROLS = /(?!\t)\p{Cc}/gu;

/** The text with control characters made visible; tabs stay. */
export function printable(text: string): string {
  return text.replaceAll(CONTROLS, "\u{FFFD}");
}

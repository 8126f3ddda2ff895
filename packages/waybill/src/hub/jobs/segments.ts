// Segments of an event log: how events are cut into objects and read back (docs/protocol/events.md §1).
import { type JobEvent, LIMITS, WaybillError } from "@waybill/sdk/protocol";

export type Segment = {
  readonly first: number;
  readonly events: readonly JobEvent[];
  /** One event a line. */
  readonly body: string;
};

/** Readers find the segment of any number in one listing page of S3 (1,000 keys). */
export const MAX_SEGMENT_EVENTS = 1000;
const MAX_SEGMENT_BYTES = 256 * 1024;

/** Cuts consecutive events into segments. Throws `too_large` for an event above the limit of one. */
export function segmentsOf(events: readonly JobEvent[]): Segment[] {
  const segments: Segment[] = [];
  let lines: string[] = [];
  let bytes = 0;
  let start = 0;
  const close = (end: number) => {
    const first = events[start];
    if (first === undefined || end === start) return;
    segments.push({ first: first.seq, events: events.slice(start, end), body: lines.join("") });
    start = end;
    lines = [];
    bytes = 0;
  };
  for (const [index, event] of events.entries()) {
    const line = `${JSON.stringify(event)}\n`;
    const size = Buffer.byteLength(line);
    if (size > LIMITS.eventBytes + 1) {
      throw new WaybillError(
        "too_large",
        `event ${event.seq} has ${size - 1} bytes; at most ${LIMITS.eventBytes} are allowed`,
      );
    }
    const full = lines.length >= MAX_SEGMENT_EVENTS || bytes + size > MAX_SEGMENT_BYTES;
    if (full) close(index);
    lines.push(line);
    bytes += size;
  }
  close(events.length);
  return segments;
}

/** The events of a stored segment, which a hub has validated before it stored them. */
export function decodeSegment(body: Uint8Array): JobEvent[] {
  const text = new TextDecoder().decode(body).trimEnd();
  return text === "" ? [] : (JSON.parse(`[${text.replaceAll("\n", ",")}]`) as JobEvent[]);
}

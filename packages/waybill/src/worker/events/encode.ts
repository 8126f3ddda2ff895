// An event as a line of JSON, never longer than `LIMITS.eventBytes`.
import { type JobEvent, LIMITS, type NewJobEvent } from "@waybill/sdk/protocol";

/** Text of a log line that fits an event whatever is in it: every character escaped would still fit. */
const SAFE_LENGTH = Math.floor((LIMITS.eventBytes - 512) / 6);

/** Whether an event can be written as it is. Only lines and a trainer's data can grow beyond the limit. */
export function fitsEvent(event: NewJobEvent): boolean {
  if (event.type === "log" && event.line.length <= SAFE_LENGTH) return true;
  return Buffer.byteLength(JSON.stringify(event)) <= LIMITS.eventBytes - ENVELOPE_BYTES;
}

/** `seq`, `time` and `attempt` with their keys. */
const ENVELOPE_BYTES = 128;

/** Cuts a log line so that its event fits; other events that do not fit become a log line that says so. */
export function fitEvent(event: NewJobEvent): NewJobEvent {
  if (fitsEvent(event)) return event;
  if (event.type !== "log") {
    const line = `a ${event.type} event of more than ${LIMITS.eventBytes} bytes was dropped`;
    return { type: "log", stream: "waybill", line };
  }
  let keep = event.line.length;
  for (;;) {
    const cut: NewJobEvent = { ...event, line: sliceText(event.line, keep), cut: true };
    const bytes = Buffer.byteLength(JSON.stringify(cut));
    const excess = bytes - (LIMITS.eventBytes - ENVELOPE_BYTES);
    if (excess <= 0) return cut;
    // Each dropped UTF-16 unit frees 1 to 6 bytes; a sixth of the excess never drops too much.
    keep -= Math.max(1, Math.ceil(excess / 6));
  }
}

/** The first `length` UTF-16 units without half a surrogate pair at the end. */
function sliceText(text: string, length: number): string {
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? length - 1 : length);
}

/** One line of the log file. */
export function encodeEvent(event: JobEvent): string {
  return `${JSON.stringify(event)}\n`;
}

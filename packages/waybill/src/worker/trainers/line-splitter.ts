// Bytes of a program's output to lines. A line ends with LF or CRLF; a lone CR ends a line that the next
// one replaces on a terminal (a progress bar). Memory is bounded by the longest line kept.

export type OutputLine = {
  readonly text: string;
  /** The line was longer than is kept. */
  readonly cut: boolean;
  /** Ended with a lone CR: a newer state of the same line is likely to follow. */
  readonly transient: boolean;
};

const LF = 0x0a;
const CR = 0x0d;
const EMPTY = Buffer.alloc(0);

/** Splits a stream of bytes; invalid UTF-8 becomes U+FFFD, as terminals show it. */
export class LineSplitter {
  readonly #maxBytes: number;
  /** Start of a line whose end has not been seen; at most `maxBytes` and one CR. */
  #carry: Buffer = EMPTY;
  /** The rest of a line that was cut is thrown away up to its end. */
  #skipping = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Lines that end in `chunk`. The chunk's memory may be reused afterwards. */
  push(chunk: Buffer): OutputLine[] {
    const lines: OutputLine[] = [];
    let bytes = chunk;
    if (this.#skipping) {
      const end = firstEnd(bytes);
      if (end === -1) return lines;
      bytes = bytes.subarray(end + 1);
      this.#skipping = false;
    }
    if (this.#carry.length > 0) bytes = Buffer.concat([this.#carry, bytes]);
    const whole = wholeLength(bytes);
    if (whole > 0) this.#split(bytes.subarray(0, whole), lines);
    this.#keep(bytes.subarray(whole), lines);
    return lines;
  }

  /** The last line when it has no end; nothing follows. */
  end(): OutputLine[] {
    const rest = this.#carry;
    this.#carry = EMPTY;
    this.#skipping = false;
    if (rest.length === 0) return [];
    const text = rest.toString("utf8");
    const bare = text.endsWith("\r") ? text.slice(0, -1) : text;
    return bare === "" ? [] : [this.#line(bare, false)];
  }

  #split(bytes: Buffer, lines: OutputLine[]): void {
    const text = bytes.toString("utf8");
    if (!bytes.includes(CR)) {
      const parts = text.split("\n");
      // The text ends with LF, so the last part is empty and not a line.
      for (let i = 0; i < parts.length - 1; i++) lines.push(this.#line(parts[i] ?? "", false));
      return;
    }
    for (const [, body = "", end] of text.matchAll(/([^\r\n]*)(\r\n|\n|\r)/g)) {
      if (end !== "\r") lines.push(this.#line(body, false));
      else if (body !== "") lines.push(this.#line(body, true));
    }
  }

  #keep(rest: Buffer, lines: OutputLine[]): void {
    if (rest.length <= this.#maxBytes) {
      this.#carry = rest.length === 0 ? EMPTY : Buffer.from(rest);
      return;
    }
    const head = rest.subarray(0, characterEnd(rest, this.#maxBytes));
    lines.push({ text: head.toString("utf8"), cut: true, transient: false });
    this.#carry = EMPTY;
    this.#skipping = true;
  }

  #line(text: string, transient: boolean): OutputLine {
    // A character has at most 3 UTF-8 bytes per UTF-16 unit, so short texts need no count.
    if (text.length * 3 <= this.#maxBytes) return { text, cut: false, transient };
    const bytes = Buffer.from(text);
    if (bytes.length <= this.#maxBytes) return { text, cut: false, transient };
    const head = bytes.subarray(0, characterEnd(bytes, this.#maxBytes));
    return { text: head.toString("utf8"), cut: true, transient };
  }
}

/** Length up to and with the last line end. A CR in last place waits: an LF may follow. */
function wholeLength(bytes: Buffer): number {
  const last = bytes.length - 1;
  const lf = bytes.lastIndexOf(LF);
  const cr = last >= 1 ? bytes.lastIndexOf(CR, last - 1) : -1;
  return Math.max(lf, cr) + 1;
}

function firstEnd(bytes: Buffer): number {
  const lf = bytes.indexOf(LF);
  const cr = bytes.indexOf(CR);
  if (lf === -1 || cr === -1) return Math.max(lf, cr);
  return Math.min(lf, cr);
}

/** The largest end of a whole character at or below `length`. */
function characterEnd(bytes: Buffer, length: number): number {
  let end = length;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return end;
}

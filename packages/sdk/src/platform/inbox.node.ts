// Bytes received on a connection and not taken yet. The kernel fills one buffer per connection, or, in a body
// whose reader offers memory, that memory itself; nothing is allocated per read. Reading stops while a full buffer
// waits to be taken, so that backpressure needs no queue.

/** What one read may take from the kernel; larger ones gave nothing more on loopback. */
const READ_BYTES = 256 * 1024;
/** The same where the reader offers memory: a head and the first bytes, which are copied, no more. */
const HEAD_BYTES = 32 * 1024;

/** Memory for byte `at` of a body and those after it, at most `most`; undefined for now. */
export type Target = (at: number, most: number) => Uint8Array | undefined;

export class Inbox {
  readonly #own = Buffer.allocUnsafeSlow(READ_BYTES);
  /** Where the bytes that wait lie: own memory or a target's. */
  #bytes: Uint8Array = this.#own;
  #start = 0;
  #end = 0;
  /** Memory the kernel fills next. */
  #next: Uint8Array = this.#own;
  #target: Target | undefined;
  #targetBytes = 0;
  /** Place in the body of the first byte that waits. */
  #at = 0;

  /** Bytes that wait to be taken. */
  get waiting(): number {
    return this.#end - this.#start;
  }

  /** Memory for the next read. */
  get next(): Uint8Array {
    return this.#next;
  }

  /** A body of so many bytes begins with the next byte; offers its reader's memory. */
  beginBody(bytes: number, target: Target | undefined): void {
    this.#target = target;
    this.#targetBytes = bytes;
    this.#at = 0;
  }

  endBody(): void {
    this.#target = undefined;
  }

  /** Takes note of a read into `into`; gives whether another one may follow before these bytes are taken. */
  received(bytes: number, into: Uint8Array): boolean {
    const follows =
      into.buffer === this.#bytes.buffer &&
      into.buffer !== this.#own.buffer &&
      into.byteOffset === this.#bytes.byteOffset + this.#end &&
      this.#end + bytes <= this.#bytes.length;
    if (follows) this.#end += bytes;
    else {
      this.#bytes = into;
      this.#start = 0;
      this.#end = bytes;
    }
    if (into.buffer !== this.#own.buffer && bytes < into.length) {
      this.#next = into.subarray(bytes);
      return true;
    }
    this.#next = this.#wanted();
    return false;
  }

  /** Takes bytes that came as a chunk of their own. */
  give(chunk: Uint8Array): void {
    this.#bytes = chunk;
    this.#start = 0;
    this.#end = chunk.length;
  }

  /** The next bytes, at most so many; they are valid until reading goes on. */
  take(most: number): Uint8Array {
    const bytes = this.#bytes.subarray(this.#start, Math.min(this.#end, this.#start + most));
    this.#start += bytes.length;
    this.#at += bytes.length;
    return bytes;
  }

  /** Bytes up to and with the next line feed; all of them when there is none. */
  takeLine(): Uint8Array {
    const at = this.#bytes.subarray(this.#start, this.#end).indexOf(0x0a);
    return this.take(at === -1 ? this.waiting : at + 1);
  }

  #wanted(): Uint8Array {
    if (this.#target === undefined) return this.#own;
    const at = this.#at + this.waiting;
    const most = this.#targetBytes - at;
    const memory = most > 0 ? this.#target(at, most) : undefined;
    if (memory === undefined || memory.length === 0) return this.#own.subarray(0, HEAD_BYTES);
    return memory;
  }
}

// Memory that begins on a page, as reads and writes past the page cache want it (open(2), O_DIRECT: address,
// length and offset are multiples of the disk's block). Ordinary buffers begin 16 bytes into one.
// Node has no call for it, but WebAssembly's memory is made of pages.

/** Of every processor Node runs on, and no smaller than a disk's block. */
const PAGE_BYTES = 4096;
/** WebAssembly's own pages. */
const WASM_PAGE_BYTES = 64 * 1024;

const aligned = new WeakSet<ArrayBufferLike>();

/** `count` buffers of `bytes` each that begin on a page where the machine allows it. */
export function allocatePages(bytes: number, count: number): Uint8Array<ArrayBuffer>[] {
  const stride = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
  const whole = pages(stride * count);
  if (whole === undefined) return Array.from({ length: count }, () => new Uint8Array(bytes));
  return Array.from({ length: count }, (_, at) => new Uint8Array(whole, at * stride, bytes));
}

/** Whether the bytes begin on a page. */
export function beginsOnPage(bytes: Uint8Array): boolean {
  return bytes.byteOffset % PAGE_BYTES === 0 && aligned.has(bytes.buffer);
}

function pages(bytes: number): ArrayBuffer | undefined {
  const count = Math.ceil(bytes / WASM_PAGE_BYTES);
  try {
    const { buffer } = new WebAssembly.Memory({ initial: count, maximum: count });
    aligned.add(buffer);
    return buffer;
  } catch {
    // An address space that is limited (ulimit -v): the guard pages around the memory do not fit.
    return undefined;
  }
}

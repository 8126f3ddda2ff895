// Browsers write no files, so any memory will do.

/** `count` buffers of `bytes` each. */
export function allocatePages(bytes: number, count: number): Uint8Array<ArrayBuffer>[] {
  return Array.from({ length: count }, () => new Uint8Array(bytes));
}

/** Whether the bytes begin on a page: nobody knows here. */
export function beginsOnPage(_bytes: Uint8Array): boolean {
  return false;
}

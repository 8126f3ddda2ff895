// Lets the event loop serve others once.

/** Resolves after the I/O that is ready has been handled. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

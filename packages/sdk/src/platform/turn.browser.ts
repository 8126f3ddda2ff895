// Lets the event loop serve others once.

/** Resolves after the tasks that are ready have run. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

// Maps over many things with a bound on how many are under way.

/** `operation` on every item, at most `parallel` at once; results in the order of the items. */
export async function mapParallel<T, R>(
  items: readonly T[],
  parallel: number,
  operation: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const entries = items.entries();
  const run = async () => {
    for (const [index, item] of entries) results[index] = await operation(item);
  };
  await Promise.all(Array.from({ length: Math.min(parallel, items.length) }, run));
  return results;
}

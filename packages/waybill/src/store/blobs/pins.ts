/**
 * Keeps blobs on disk while somebody reads them: a deletion asked for meanwhile happens when the
 * last reader has left. Needed because a reader of many segments opens each file only when it
 * gets there.
 */
export class BlobPins {
  readonly #readers = new Map<string, number>();
  readonly #condemned = new Set<string>();
  readonly #remove: (ids: readonly string[]) => void;

  /** @param remove deletes blobs for good */
  constructor(remove: (ids: readonly string[]) => void) {
    this.#remove = remove;
  }

  /** Pins blobs until the returned function is called (once). */
  pin(ids: readonly string[]): () => void {
    for (const id of ids) this.#readers.set(id, (this.#readers.get(id) ?? 0) + 1);
    return () => this.#unpin(ids);
  }

  /** Deletes blobs now, or when they are no longer pinned. */
  release(ids: readonly string[]): void {
    const free: string[] = [];
    for (const id of ids) {
      if (this.#readers.has(id)) this.#condemned.add(id);
      else free.push(id);
    }
    if (free.length > 0) this.#remove(free);
  }

  #unpin(ids: readonly string[]): void {
    const free: string[] = [];
    for (const id of ids) {
      const left = (this.#readers.get(id) ?? 1) - 1;
      if (left > 0) {
        this.#readers.set(id, left);
        continue;
      }
      this.#readers.delete(id);
      if (this.#condemned.delete(id)) free.push(id);
    }
    if (free.length > 0) this.#remove(free);
  }
}

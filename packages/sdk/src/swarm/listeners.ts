// One event's listeners. Links have few events and many instances, so each event is a small set of its own.

export class Listeners<T> {
  readonly #all = new Set<(event: T) => void>();

  /** Adds a listener; the result removes it. */
  add(listener: (event: T) => void): () => void {
    const entry = (event: T) => listener(event);
    this.#all.add(entry);
    return () => this.#all.delete(entry);
  }

  /** Calls all of them; one that throws is reported as uncaught and keeps nobody else from hearing. */
  emit(event: T): void {
    // A copy: a listener may remove itself or others.
    const now = [...this.#all];
    for (const listener of now) {
      try {
        listener(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

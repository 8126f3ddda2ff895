// One way to the pushing machine, and what serves the artifact over it now.
import type { Source } from "../../transfer/index.ts";

export interface DirectRoute {
  /** Serves the artifact; undefined while the machine cannot be reached this way. */
  readonly inner: Source | undefined;
  /** Tells of changes of `inner`; gives what ends it. */
  onChange(listener: () => void): () => void;
  /** A request has failed: the machine may not be there any more. */
  failed(): void;
  close(): Promise<void>;
}

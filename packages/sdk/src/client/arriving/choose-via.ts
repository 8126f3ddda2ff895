// Which way a push goes first: from this machine to the reader, or to the store. Pure; `--explain` prints the reason.
export type Via = "auto" | "peer" | "s3";

export type ViaFacts = {
  readonly via: Via;
  readonly bytes: number;
  /** Artifacts of at most so many bytes go straight to the reader; 0: none. */
  readonly belowBytes: number;
  /** Workers of the room that are present. */
  readonly workers: number;
  /** Whether this machine serves the tree at all. */
  readonly serves: boolean;
};

/** From here on the store is worth the detour: several readers and later ones get it from there at its own rate. */
export const DIRECT_BELOW_BYTES = 100_000_000;

export type ViaChoice = { readonly held: boolean; readonly why: string };

export function chooseVia({ via, bytes, belowBytes, workers, serves }: ViaFacts): ViaChoice {
  const store = (why: string): ViaChoice => ({ held: false, why: `to the store: ${why}` });
  const direct = (why: string): ViaChoice => ({
    held: true,
    why: `straight to the worker: ${why}`,
  });
  if (via === "s3") return store("that was asked for");
  if (!serves) return store("this machine serves nothing itself");
  if (via === "peer") return direct("that was asked for");
  if (belowBytes === 0) return store("nothing is small enough to go straight to a worker");
  if (bytes > belowBytes) return store(`${bytes} bytes are more than ${belowBytes}`);
  if (workers === 0) return store("no worker is present that could take the job");
  return direct(`${bytes} bytes are at most ${belowBytes}, and a worker is present`);
}

// When this machine's network has changed: Node has no event for it, so its addresses are looked at now and then.
import { networkInterfaces } from "node:os";

/** A look costs 0.1 ms; a path that broke is noticed by silence only after 10 s and more. */
const LOOK_MS = 3000;

/** Calls `listener` after each change of this machine's addresses; the result ends that. */
export function onNetworkChange(listener: () => void): () => void {
  let before = addresses();
  const timer = setInterval(() => {
    const now = addresses();
    if (now === before) return;
    before = now;
    listener();
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function addresses(): string {
  return Object.values(networkInterfaces())
    .flatMap((all) => (all ?? []).map(({ address }) => address))
    .sort()
    .join(" ");
}

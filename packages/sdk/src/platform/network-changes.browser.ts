// When this machine's network has changed, as far as a browser tells.

type Connection = Pick<EventTarget, "addEventListener" | "removeEventListener">;

/** Calls `listener` when the browser is online again or uses another network; the result ends that. */
export function onNetworkChange(listener: () => void): () => void {
  // Not in every browser (Network Information API).
  const { connection } = globalThis.navigator as { readonly connection?: Connection };
  globalThis.addEventListener("online", listener);
  connection?.addEventListener("change", listener);
  return () => {
    globalThis.removeEventListener("online", listener);
    connection?.removeEventListener("change", listener);
  };
}

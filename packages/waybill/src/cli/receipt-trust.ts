// Whether the key that signed as the hub is a known hub's: a receipt brings its own keys, so they prove nothing
// until somebody trusted says that they are its own (docs/protocol/receipt.md §6).
import { HubClient } from "@waybill/sdk/hub-client";
import { type ReceiptPayload, WaybillError, messageOf } from "@waybill/sdk/protocol";
import type { ReceiptVerdict } from "@waybill/sdk/receipt";
import type { Context } from "./context.ts";

export type HubTrust =
  /** A trusted hub says that the key is its own. */
  | { readonly state: "known"; readonly hub: string }
  /** Trusted hubs answered, and it is none's. */
  | { readonly state: "foreign"; readonly hub: string }
  /** Nobody could be asked, for this reason. */
  | { readonly state: "unchecked"; readonly why: string }
  /** The hub has not signed. */
  | { readonly state: "unsigned" };

/** A person waits. */
const PATIENCE_MS = 3000;

/** Asks the hubs this machine trusts for the receipt's room. */
export async function hubTrust(
  context: Context,
  { room, hub: likely }: ReceiptPayload,
  signers: ReceiptVerdict["signers"],
): Promise<HubTrust> {
  const signer = signers.find(({ by }) => by === "hub");
  if (signer === undefined) return { state: "unsigned" };
  const hubs = await context.trustedHubs(room, likely);
  if (hubs.length === 0) {
    const why = `this machine has no token of room ${room}; name its hub with --hub`;
    return { state: "unchecked", why };
  }
  let foreign: string | undefined;
  let why = "";
  for (const hub of hubs) {
    try {
      const client = new HubClient({ url: hub, retryForMs: PATIENCE_MS });
      const { keys } = await client.call("receiptKeys", {}, { signal: context.signal });
      if (keys.some(({ x }) => x === signer.jwk.x)) return { state: "known", hub };
      foreign ??= hub;
    } catch (error) {
      if (!(error instanceof WaybillError)) throw error;
      why ||= messageOf(error);
    }
  }
  return foreign === undefined ? { state: "unchecked", why } : { state: "foreign", hub: foreign };
}

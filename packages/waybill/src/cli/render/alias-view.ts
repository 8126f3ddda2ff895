// Records of an alias's history as people read them.
import type { AliasMove } from "@waybill/sdk/protocol";
import { formatValue, oneLine } from "./format.ts";

/** `ada@desk (4f1c2a9b)`: what they call themselves, and the beginning of the key that proves who it was. */
export function whoOf({ who, by }: Pick<AliasMove, "who" | "by">): string {
  const proven = who.slice(0, 8);
  return by === undefined ? proven : `${by} (${proven})`;
}

/** Where from and where to. */
export function movedText({ from, to, protection }: AliasMove): string {
  if (protection !== undefined) return protection ? "protected" : "unprotected";
  return `${from ?? "–"} → ${to ?? "–"}`;
}

/** The reason, and the condition with the values it was judged by. */
export function whyText({ why = "", gate }: AliasMove): string {
  if (gate === undefined) return oneLine(why);
  const { condition, candidate, current } = gate;
  const values = [candidate, current].filter((one) => one !== undefined).map(formatValue);
  const told = `[${condition}: ${values.join(" against ")}]`;
  return why === condition ? told : `${oneLine(why)} ${told}`;
}

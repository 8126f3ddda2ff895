// What keeps a model in a room, whatever anybody's rules say (docs/protocol/registry.md, "Keeping and removing"): a name that points at it, a pin,
// or a pipeline it is part of. Found in the document alone, so that a removal and a move of an alias cannot pass each other.
import { type ModelId, type Pin, type Registry, assertNever } from "../protocol/index.ts";

export type Hold =
  | { readonly kind: "alias"; readonly alias: string; readonly isProtected: boolean }
  | { readonly kind: "latest"; readonly alias: string }
  | { readonly kind: "pin"; readonly pin: Pin }
  | { readonly kind: "pipeline"; readonly model: ModelId };

/** What holds each model; those that nothing holds are absent. Pipelines in `leaving` hold nothing. */
export function holdsOf(
  registry: Registry,
  leaving: ReadonlySet<string> = new Set(),
): Map<string, Hold[]> {
  const holds = new Map<string, Hold[]>();
  const add = (id: string, hold: Hold) => {
    const known = holds.get(id);
    if (known === undefined) holds.set(id, [hold]);
    else known.push(hold);
  };
  const guarded = new Set<string>(registry.protected_aliases);
  for (const [alias, id] of Object.entries(registry.aliases)) {
    const automatic = alias.startsWith("latest-");
    add(
      id,
      automatic
        ? { kind: "latest", alias }
        : { kind: "alias", alias, isProtected: guarded.has(alias) },
    );
  }
  for (const { id, pinned, pipeline } of Object.values(registry.models)) {
    if (pinned !== undefined) add(id, { kind: "pin", pin: pinned });
    if (leaving.has(id)) continue;
    for (const { model } of pipeline?.parts ?? []) add(model, { kind: "pipeline", model: id });
  }
  return holds;
}

/** What a hold is called: `alias prod-v1 (protected)`, `pinned by ada: the paper's model`. */
export function textOfHold(hold: Hold): string {
  switch (hold.kind) {
    case "alias":
      return `alias ${hold.alias}${hold.isProtected ? " (protected)" : ""}`;
    case "latest":
      return hold.alias;
    case "pin":
      return `pinned by ${hold.pin.by ?? hold.pin.who}${hold.pin.why === undefined ? "" : `: ${hold.pin.why}`}`;
    case "pipeline":
      return `part of pipeline ${hold.model}`;
    default:
      return assertNever(hold);
  }
}

// Aliases as they are shown: the list of a room's, and the history of one (docs/protocol/registry.md, Names). Pure.
import {
  type Alias,
  type AliasInfo,
  type AliasMove,
  type AliasRecord,
  type ModelId,
  type Registry,
  WaybillError,
} from "../protocol/index.ts";
import { aliasTarget, modelOf } from "./edits.ts";
import { matchesPattern } from "./name-pattern.ts";

export type AliasListing = {
  readonly pattern?: string | undefined;
  /** Only names after this one. */
  readonly after?: string | undefined;
  readonly limit: number;
};

/** Aliases sorted by name, automatic ones and protected names that point nowhere among them. */
export function listAliases(
  registry: Registry,
  { pattern, after, limit }: AliasListing,
): { aliases: AliasInfo[]; more: boolean } {
  const guarded = new Set<string>(registry.protected_aliases);
  const all = [...new Set([...Object.keys(registry.aliases), ...guarded])]
    .filter((name) => after === undefined || name > after)
    .filter((name) => pattern === undefined || matchesPattern(name, pattern))
    .sort();
  const names = all.slice(0, limit);
  const moves = new Map<string, AliasMove>();
  for (const move of registry.alias_history) {
    if (move.protection === undefined) moves.set(move.alias, move);
  }
  const aliases = names.map((alias) => {
    const model = aliasTarget(registry, alias);
    const type = model === undefined ? undefined : modelOf(registry, model)?.model_type;
    const { alias: _, ...moved } = moves.get(alias) ?? {};
    return {
      alias,
      ...(model === undefined ? {} : { model }),
      ...(type === undefined ? {} : { model_type: type }),
      automatic: alias.startsWith("latest-"),
      protected: guarded.has(alias),
      ...("who" in moved ? { moved } : {}),
    };
  });
  return { aliases, more: all.length > names.length };
}

export type HistoryPage = {
  /** Only records with a smaller number. */
  readonly before?: number | undefined;
  readonly limit: number;
};

/** The records of one alias, newest first. Throws `not_found` for a name that never was one. */
export function aliasHistory(
  registry: Registry,
  alias: Alias,
  { before = Infinity, limit }: HistoryPage,
): { model?: ModelId; protected: boolean; moves: AliasRecord[]; more: boolean } {
  const records = registry.alias_history
    .filter((move) => move.alias === alias)
    .map((move, i): AliasRecord => ({ n: i + 1, ...move }));
  const model = aliasTarget(registry, alias);
  if (records.length === 0 && model === undefined) {
    throw new WaybillError("not_found", `there never was an alias ${alias}`, {
      hint: "see `waybill alias ls`",
    });
  }
  const asked = records.filter(({ n }) => n < before).toReversed();
  return {
    ...(model === undefined ? {} : { model }),
    protected: registry.protected_aliases.includes(alias),
    moves: asked.slice(0, limit),
    more: asked.length > limit,
  };
}

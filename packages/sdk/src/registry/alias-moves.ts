// Moves of aliases as people ask for them (docs/protocol/registry.md, Names and Conditions): pure edits, each with a record in the
// alias's history. Who did it, when, from where to where, why and under which condition stays for ever.
import {
  type Alias,
  type AliasMove,
  type AliasMoved,
  type AliasState,
  type ModelEntry,
  type ModelId,
  type ModelRef,
  type Registry,
  WaybillError,
  judgeMetric,
  readMetricGate,
} from "../protocol/index.ts";
import {
  type Edited,
  type Editor,
  aliasTarget,
  assertMovable,
  modelOf,
  moveOf,
  pointAlias,
  removedModel,
  renamed,
  resolveModel,
} from "./edits.ts";

/** What history says where nobody said why. */
const NO_REASON = "no reason given";

export type AliasTarget = {
  readonly alias: Alias;
  readonly model: ModelRef;
  /** Fails with `conflict` unless the alias points there before. */
  readonly expect?: AliasState | undefined;
  /** Fails with `conflict` unless this condition holds for the model. */
  readonly if?: string | undefined;
  /** Protected aliases need one, or a condition. */
  readonly why?: string | undefined;
};

/**
 * Points an alias at a model. Throws `not_found`, `conflict` (see `expect` and `if`), `forbidden` (protected),
 * `invalid_request` (protected, and no reason).
 */
export function moveAlias(registry: Registry, target: AliasTarget, by: Editor): Edited<AliasMoved> {
  const { alias } = target;
  const entry = resolveModel(registry, target.model);
  const from = aliasTarget(registry, alias);
  const result: AliasMoved = { alias, model: entry.id, ...(from === undefined ? {} : { from }) };
  // Before anything is asked: the same call again, after its answer was lost, must not fail.
  if (from === entry.id) return { registry, result };
  assertMovable(registry, alias, by);
  assertPointsAt(alias, from, target.expect);
  const judged = judgeGate(registry, alias, entry, target.if);
  const why = reasonFor(registry, alias, target.why ?? judged?.gate.condition);
  const next = pointAlias(registry, alias, entry.id, by, why, judged?.gate);
  return {
    registry: next,
    result: judged === undefined ? result : { ...result, gate: judged.reason },
  };
}

export type AliasRemoval = {
  readonly alias: Alias;
  /** Fails with `conflict` unless the alias points there; the same removal again then changes nothing. */
  readonly expect?: ModelId | undefined;
  readonly why?: string | undefined;
};

/** Removes an alias, keeping its history. Throws `not_found`, `conflict`, `forbidden` and `invalid_request` as `moveAlias`. */
export function removeAlias(
  registry: Registry,
  { alias, expect, why }: AliasRemoval,
  by: Editor,
): Edited<{ readonly alias: Alias; readonly from: ModelId }> {
  const from = aliasTarget(registry, alias);
  if (from === undefined) {
    const last = lastMove(registry, alias);
    // The answer to this very removal was lost.
    const isDone = last?.from === expect && last?.to === undefined && last?.who === by.who;
    if (expect !== undefined && isDone) return { registry, result: { alias, from: expect } };
    throw noAlias(alias);
  }
  assertMovable(registry, alias, by);
  assertPointsAt(alias, from, expect);
  const reason = reasonFor(registry, alias, why);
  const aliases = { ...registry.aliases };
  delete aliases[alias];
  const next = { ...registry, aliases };
  return {
    registry: {
      ...next,
      models: renamed(next, [from]),
      alias_history: [...registry.alias_history, moveOf({ alias, from, why: reason }, by)],
    },
    result: { alias, from },
  };
}

export type AliasRollback = {
  readonly alias: Alias;
  /** Where the last move led: what the caller saw. */
  readonly expect: AliasState;
  /** Where it came from. */
  readonly to: ModelId;
  readonly why?: string | undefined;
};

/**
 * Moves an alias back to where it pointed before its last move, and records that as a move. Throws `conflict` when the last
 * move is not the one the caller saw, `not_found` when the model was removed since, `forbidden` (protected).
 */
export function rollbackAlias(
  registry: Registry,
  { alias, expect, to, why }: AliasRollback,
  by: Editor,
): Edited<AliasMoved> {
  const last = lastMove(registry, alias);
  if (last === undefined) throw noAlias(alias);
  const from = aliasTarget(registry, alias);
  const result: AliasMoved = { alias, model: to, ...(from === undefined ? {} : { from }) };
  // The answer to this very call was lost.
  if (from === to && last.to === to && (last.from ?? "none") === expect) {
    return { registry, result };
  }
  assertMovable(registry, alias, by);
  if ((from ?? "none") !== expect || (last.to ?? "none") !== expect || last.from !== to) {
    throw new WaybillError(
      "conflict",
      `alias ${alias} was moved since: it points at ${from ?? "no model"} now`,
      { hint: `look at it again with \`waybill alias history ${alias}\`` },
    );
  }
  if (modelOf(registry, to) === undefined) throw removedSince(registry, alias, to);
  const who = last.by ?? last.who;
  const undone = `rollback of the move of ${last.when} by ${who}`;
  const reason = why === undefined ? undone : `rollback: ${why}`;
  return { registry: pointAlias(registry, alias, to, by, reason), result };
}

export type AliasProtection = {
  readonly alias: Alias;
  readonly protected: boolean;
  readonly why?: string | undefined;
};

/** Leaves an alias, or the name of one to come, to owners alone, or to everybody again. Throws `forbidden`. */
export function protectAlias(
  registry: Registry,
  { alias, protected: wanted, why }: AliasProtection,
  by: Editor,
): Edited<{ readonly alias: Alias; readonly protected: boolean; readonly model?: ModelId }> {
  if (!by.owner) {
    throw new WaybillError("forbidden", `only the room's owner protects aliases`);
  }
  assertMovable(registry, alias, by);
  const model = aliasTarget(registry, alias);
  const result = { alias, protected: wanted, ...(model === undefined ? {} : { model }) };
  const names = registry.protected_aliases;
  if (names.includes(alias) === wanted) return { registry, result };
  const record = moveOf(
    { alias, from: model, to: model, why: why ?? NO_REASON, protection: wanted },
    by,
  );
  return {
    registry: {
      ...registry,
      protected_aliases: wanted ? [...names, alias] : names.filter((name) => name !== alias),
      alias_history: [...registry.alias_history, record],
    },
    result,
  };
}

/** An alias's last move or removal. */
export function lastMove({ alias_history }: Registry, alias: Alias): AliasMove | undefined {
  return alias_history.findLast((one) => one.alias === alias && one.protection === undefined);
}

function assertPointsAt(
  alias: Alias,
  from: ModelId | undefined,
  expect: AliasState | undefined,
): void {
  if (expect === undefined || expect === (from ?? "none")) return;
  const wanted = expect === "none" ? "none" : expect;
  throw new WaybillError(
    "conflict",
    `alias ${alias} points at ${from ?? "no model"}, not at ${wanted}`,
    { hint: `look at it again with \`waybill alias history ${alias}\`` },
  );
}

/** What the gate says, for people and for the history; throws `conflict` when it does not hold. */
function judgeGate(registry: Registry, alias: Alias, entry: ModelEntry, text: string | undefined) {
  if (text === undefined) return undefined;
  const condition = readMetricGate(text, "the gate");
  const now = aliasTarget(registry, alias);
  const current = now === undefined ? undefined : modelOf(registry, now)?.training.metrics;
  const { holds, reason, ...values } = judgeMetric(condition, entry.training.metrics, current);
  const { text: written } = condition;
  if (holds) {
    return { gate: { condition: written, ...values }, reason: `${written}: ${reason}` };
  }
  throw new WaybillError(
    "conflict",
    `alias ${alias} stays at ${now ?? "no model"}: ${entry.id} does not meet ${written} (${reason})`,
    { hint: "without --if it moves all the same" },
  );
}

/** The reason history keeps; protected aliases do not move without one. */
function reasonFor(registry: Registry, alias: Alias, why: string | undefined): string {
  if (why !== undefined && why.trim() !== "") return why;
  if (!registry.protected_aliases.includes(alias)) return NO_REASON;
  throw new WaybillError("invalid_request", `alias ${alias} is protected: say why it changes`, {
    hint: "with --why 'passed the nightly evaluation'",
  });
}

function noAlias(alias: Alias): WaybillError {
  return new WaybillError("not_found", `there is no alias ${alias}`, {
    hint: "see `waybill alias ls`",
  });
}

/** What an alias cannot be rolled back to. */
function removedSince(registry: Registry, alias: Alias, model: ModelId): WaybillError {
  const before = `alias ${alias} pointed at ${model} before`;
  if (!Object.hasOwn(registry.tombstones, model)) {
    return new WaybillError("not_found", `${before}, which is not there`);
  }
  const { message, hint } = removedModel(registry, model);
  const told = `${before}: ${message}`;
  return new WaybillError("not_found", told, hint === undefined ? {} : { hint });
}

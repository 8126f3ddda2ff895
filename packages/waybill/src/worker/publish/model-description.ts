// What a model is, before it exists: the canonical description its id is taken from.
import type { JobAssignment } from "@waybill/sdk/protocol";

/**
 * Canonical JSON (keys sorted by UTF-16 units, no spaces, absent members left out) of
 * `{type, config, dataset, code, command | trainer, runName}`. The same training described alike gives the
 * same text; `runName` (the job's id when none is given) tells repetitions apart, and `attempt`, when it is
 * given, a model from one that an earlier attempt left unnamed.
 */
export function describeModel({ job, spec }: JobAssignment, attempt?: number): string {
  return canonicalJson({
    type: spec.modelType,
    config: spec.config,
    dataset: spec.dataset,
    code: spec.code,
    command: spec.command,
    trainer: spec.trainer,
    runName: spec.runName ?? job,
    attempt,
  });
}

/** JSON with sorted keys, so that equal values have equal text. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((one) => canonicalJson(one)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
  return `{${members.join(",")}}`;
}

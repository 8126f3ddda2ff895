// What a model is, before it exists: the canonical description its id is taken from (docs/protocol/registry.md §4).
import {
  type ArtifactId,
  type JobAssignment,
  type JsonValue,
  type ModelType,
  canonicalJson,
} from "../protocol/index.ts";

type Config = Readonly<Record<string, unknown>>;

/** What tells one training from another. Absent members are left out of the text. */
export type TrainingDescription = {
  readonly type: ModelType;
  readonly config: Config;
  readonly dataset?: ArtifactId | undefined;
  readonly code?: ArtifactId | undefined;
  readonly command?: readonly string[] | undefined;
  readonly trainer?: string | undefined;
  readonly runName?: string | undefined;
  readonly seed?: number | undefined;
  /** Which attempt made it, when an earlier one left a model unnamed. */
  readonly attempt?: number | undefined;
  /** Of a model that was trained elsewhere: its files. */
  readonly content?: ArtifactId | undefined;
  /** Counts imports of the same content after the ones before were removed. */
  readonly again?: number | undefined;
};

/** Canonical JSON (RFC 8785): the same training described alike gives the same text. */
export function describeTraining(description: TrainingDescription): string {
  // A configuration was JSON before it came here.
  return canonicalJson(description as JsonValue);
}

/** Of a job's model. Its run name, or the job's id when it has none, tells repetitions apart. */
export function describeJob({ job, spec }: Pick<JobAssignment, "job" | "spec">, attempt?: number) {
  return describeTraining({
    type: spec.modelType,
    config: spec.config,
    dataset: spec.dataset,
    code: spec.code,
    command: spec.command,
    trainer: spec.trainer,
    runName: spec.runName ?? job,
    seed: seedOf(spec),
    attempt,
  });
}

/** The seed a job names: its own, or else its configuration's `seed` when that is a whole number. */
export function seedOf(spec: {
  readonly seed?: number | undefined;
  readonly config: Config;
}): number | undefined {
  if (spec.seed !== undefined) return spec.seed;
  const { seed } = spec.config;
  return typeof seed === "number" && Number.isSafeInteger(seed) ? seed : undefined;
}

/** The text whose BLAKE3 is an entry's `config_digest`. */
export function configText(config: Config): string {
  return canonicalJson(config as JsonValue);
}

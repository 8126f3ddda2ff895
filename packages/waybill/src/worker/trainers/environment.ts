// What a trainer finds in its environment: the worker's own variables less its secrets (I10), the job's, and
// Waybill's (docs/protocol/trainer.md §2).
import { type JobAssignment, TRAINER_ENV } from "@waybill/sdk/protocol";

/** Waybill's own settings and what clouds name their credentials. */
const PRIVATE_PREFIX = /^(?:WAYBILL|AWS|AZURE|GOOGLE|GCP|GCLOUD|ALIYUN|OCI|R2|CLOUDFLARE)_/i;
/** Names that say that their value is a secret. */
const SECRET_NAME =
  /TOKEN(?!I[SZ])|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|PRIVATE_?KEY|ACCESS_?KEY|API_?KEY|_AUTH\b|^SSH_AUTH_SOCK$/i;

export type TrainerPaths = {
  readonly dataset: string | undefined;
  readonly output: string;
  readonly config: string;
};

/** Environment of a job's trainer. `pass` names variables the operator hands over although they look like secrets. */
export function trainerEnvironment(
  own: NodeJS.ProcessEnv,
  assignment: JobAssignment,
  paths: TrainerPaths,
  pass: readonly string[],
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(own)) {
    if (value === undefined) continue;
    const hidden = PRIVATE_PREFIX.test(name) || SECRET_NAME.test(name);
    if (!hidden || pass.includes(name)) env[name] = value;
  }
  // Python holds back what it prints to a file; live metrics need every line at once.
  env["PYTHONUNBUFFERED"] = "1";
  for (const [name, value] of Object.entries(assignment.spec.env)) env[name] = value;
  env[TRAINER_ENV.output] = paths.output;
  env[TRAINER_ENV.config] = paths.config;
  env[TRAINER_ENV.job] = assignment.job;
  env[TRAINER_ENV.attempt] = String(assignment.attempt);
  if (paths.dataset === undefined) delete env[TRAINER_ENV.dataset];
  else env[TRAINER_ENV.dataset] = paths.dataset;
  return env;
}

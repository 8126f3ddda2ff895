// What a trainer finds in its environment: the worker's own variables less its secrets (I10), the job's, and
// Waybill's (docs/protocol/trainer.md §2).
import { type JobAssignment, TRAINER_ENV } from "@waybill/sdk/protocol";

/** Waybill's own settings, and what clouds and their tools keep credentials in. */
const PRIVATE_PREFIX =
  /^(?:WAYBILL|AWS|AZURE|GOOGLE|GCP|GCLOUD|CLOUDSDK|ALIYUN|ALICLOUD|OCI|IBMCLOUD|HCLOUD|SCW|R2|B2|CLOUDFLARE|VAULT)_/i;
/** Words that, as a part of a name between underscores, say that the value is a secret or a file of them. */
const SECRET_WORD =
  /(?:^|_)(?:PASS|PAT|PATS|DSN|JWT|SAS|AUTH|KEYS?|CREDS?|COOKIES?|WEBHOOKS?|KUBECONFIG|NETRC)(?:_|$)|_PWD$/i;
/** Words that say so wherever in a name they stand; `TOKENIZERS_PARALLELISM` is none. */
const SECRET_PART =
  /TOKEN(?!I[SZ])|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASSFILE|CREDENTIAL|PRIVATEKEY|ACCESSKEY|APIKEY|CONNECTION_?STRING|CONN_?STR/i;
/** Where a database or a queue is, mostly with the password to it. */
const SECRET_URL =
  /(?:DATABASE|DB|SQL|POSTGRES|PG|MARIA|MONGO|REDIS|VALKEY|AMQP|MQ|BROKER|CELERY\w*|ALCHEMY\w*|ELASTIC\w*)_?UR[IL]S?$/i;
/** Names of other tools: agents that sign for whoever reaches their socket, files of passwords. */
const SECRET_NAME =
  /^(?:SSH_AUTH_SOCK|GPG_AGENT_INFO|GNUPGHOME|(?:SSH|DB|PG)PASS|PGSERVICEFILE|DOCKER_CONFIG|NPM_CONFIG_USERCONFIG|NPM_CONFIG_.*AUTH.*)$/i;
const SECRET_NAMES = [PRIVATE_PREFIX, SECRET_WORD, SECRET_PART, SECRET_URL, SECRET_NAME];
/** A URL with a password in it, whatever it is called (a proxy, a package index), and private keys. */
const SECRET_VALUE = /[a-z][a-z0-9+.-]*:\/\/[^\s/@:]*:[^\s/@]+@|-----BEGIN [A-Z ]*PRIVATE KEY/i;

export type TrainerPaths = {
  readonly dataset: string | undefined;
  readonly output: string;
  readonly config: string;
  /** Directory with the checkpoint to begin from. */
  readonly resume?: string | undefined;
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
    if (!looksSecret(name, value) || pass.includes(name)) env[name] = value;
  }
  // Python holds back what it prints to a file; live metrics need every line at once.
  env["PYTHONUNBUFFERED"] = "1";
  for (const [name, value] of Object.entries(assignment.spec.env)) env[name] = value;
  env[TRAINER_ENV.output] = paths.output;
  env[TRAINER_ENV.config] = paths.config;
  env[TRAINER_ENV.job] = assignment.job;
  env[TRAINER_ENV.attempt] = String(assignment.attempt);
  if (assignment.spec.seed === undefined) delete env[TRAINER_ENV.seed];
  else env[TRAINER_ENV.seed] = String(assignment.spec.seed);
  if (paths.resume === undefined) delete env[TRAINER_ENV.resume];
  else env[TRAINER_ENV.resume] = paths.resume;
  if (paths.dataset === undefined) delete env[TRAINER_ENV.dataset];
  else env[TRAINER_ENV.dataset] = paths.dataset;
  return env;
}

function looksSecret(name: string, value: string): boolean {
  return SECRET_NAMES.some((pattern) => pattern.test(name)) || SECRET_VALUE.test(value);
}

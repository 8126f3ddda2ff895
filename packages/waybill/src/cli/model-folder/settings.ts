// A configuration found in a file, as it may stand in a registry that everybody in the room reads.
import { WaybillError, messageOf } from "@waybill/sdk/protocol";
import { parse as parseYaml } from "yaml";
import { isRecord } from "./detected.ts";

/** A registry has thousands of entries in one document; larger configurations stay in the model's files alone. */
const MAX_CONFIG_BYTES = 64 * 1024;
/** `eos_token` and its kind are words of a vocabulary. */
const SECRET =
  /(?:^|_)(?:api_?key|(?:auth|access|api|hub|hf|wandb|bot)_?token|password|passwd|secret|secret_?key|credentials?)$|^token$/i;

/** JSON or YAML, by the file's name. Throws `invalid_request` when it is neither, or no object. */
export function parseSettings(name: string, text: string): Record<string, unknown> {
  const value = parsed(name, text);
  if (isRecord(value)) return value;
  throw new WaybillError("invalid_request", `${name} holds no settings`);
}

function parsed(name: string, text: string): unknown {
  try {
    // JSON, so that dates, infinities and the like of YAML are what a registry can hold.
    return name.endsWith(".json")
      ? JSON.parse(text)
      : plain(parseYaml(text, { maxAliasCount: 100 }));
  } catch (cause) {
    throw new WaybillError("invalid_request", `${name} cannot be read: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function plain(value: unknown): unknown {
  const text = JSON.stringify(value, (_, one: unknown) =>
    typeof one === "number" && !Number.isFinite(one) ? String(one) : one,
  );
  return text === undefined ? undefined : JSON.parse(text);
}

/** Settings without what is no setting, and without secrets (I10); says what was left out. */
export function publicSettings(
  settings: Record<string, unknown>,
  drop: readonly (readonly string[])[] = [],
): { readonly config: Record<string, unknown>; readonly warnings: string[] } {
  const config = structuredClone(settings);
  for (const path of drop) remove(config, path);
  const secrets = withoutSecrets(config, "");
  const warnings = secrets.map(
    (key) => `${key} looks like a secret: it is left out of the registry, but the file has it`,
  );
  const bytes = JSON.stringify(config).length;
  if (bytes <= MAX_CONFIG_BYTES) return { config, warnings };
  const kib = Math.round(bytes / 1024);
  return {
    config: {},
    warnings: [...warnings, `the configuration has ${kib} KiB: it stays in its file alone`],
  };
}

function remove(config: Record<string, unknown>, path: readonly string[]): void {
  const [name, ...rest] = path;
  if (name === undefined) return;
  if (rest.length === 0) delete config[name];
  else if (isRecord(config[name])) remove(config[name], rest);
}

/** Removes them; answers their keys. */
function withoutSecrets(value: unknown, key: string): string[] {
  if (Array.isArray(value)) return value.flatMap((one, i) => withoutSecrets(one, `${key}[${i}]`));
  if (!isRecord(value)) return [];
  return Object.entries(value).flatMap(([name, member]) => {
    const path = key === "" ? name : `${key}.${name}`;
    if (!SECRET.test(name) || typeof member !== "string" || member === "")
      return withoutSecrets(member, path);
    value[name] = null;
    return [path];
  });
}

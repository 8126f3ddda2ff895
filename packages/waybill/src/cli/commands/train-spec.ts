// The job a `waybill train` command line describes, checked before anything is sent.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { JobSpec, type ProgressFormat, WaybillError, decodeJson } from "@waybill/sdk/protocol";
import { metricDirection } from "@waybill/sdk/registry";
import * as v from "valibot";

/** Options as commander gives them. */
export type SpecOptions = {
  readonly trainer?: string;
  readonly alias?: string;
  readonly tag?: string[];
  readonly config?: string[];
  readonly env?: Record<string, string>;
  readonly modelType?: string;
  readonly runName?: string;
  readonly seed?: number;
  readonly notes?: string;
  readonly sweep?: string;
  readonly sweepMetric?: string;
  readonly sweepMode?: "min" | "max";
  readonly kind?: string;
  readonly label?: Record<string, string>;
  readonly worker?: string | undefined;
  readonly minCpus?: number;
  readonly minMemory?: number;
  readonly gpus?: number;
  readonly gpuMemory?: number;
  readonly where?: string[];
  readonly maxAttempts?: number;
  readonly progress?: ProgressFormat;
  readonly emptyStdin?: boolean;
  readonly tensorboard?: boolean;
};

const MAX_CONFIG_BYTES = 512 * 1024;

/** The spec a command line describes. Throws `invalid_request` naming every field that is wrong. */
export async function specOf(command: readonly string[], options: SpecOptions): Promise<JobSpec> {
  const requirements = {
    kind: options.kind,
    labels: options.label,
    worker: options.worker,
    minCpus: options.minCpus,
    minMemoryBytes: options.minMemory,
    minGpus: options.gpus,
    minGpuMemoryMb: options.gpuMemory,
    where: options.where,
  };
  const fields = {
    command: command.length === 0 ? undefined : command,
    trainer: options.trainer,
    config: await configOf(options.config ?? []),
    env: options.env ?? {},
    modelType: options.modelType,
    runName: options.runName,
    seed: options.seed,
    alias: options.alias,
    tags: options.tag ?? [],
    notes: options.notes,
    sweep: sweepOf(options),
    progress: options.progress,
    stdin: options.emptyStdin === true ? ("empty" as const) : undefined,
    tensorboard: options.tensorboard,
    maxAttempts: options.maxAttempts,
    requirements: present(requirements),
  };
  return checked(present(fields));
}

/** A metric that is better when it is greater is hardly meant to be minimised without a word. */
function sweepOf({
  sweep: name,
  sweepMetric: metric,
  sweepMode: mode,
}: SpecOptions): Record<string, unknown> | undefined {
  if (name === undefined && metric === undefined && mode === undefined) return undefined;
  if (name === undefined || metric === undefined) {
    throw new WaybillError("invalid_request", "a sweep needs --sweep and --sweep-metric", {
      hint: "as `--sweep lr-search --sweep-metric val_loss`",
    });
  }
  if (mode === undefined && metricDirection(metric) === "higher") {
    const why = `is the best ${metric} of a sweep the least or the greatest?`;
    throw new WaybillError("invalid_request", why, { hint: "say --sweep-mode max, or min" });
  }
  return present({ name, metric, mode });
}

/** All problems at once, each with its field. */
function checked(fields: Record<string, unknown>): JobSpec {
  const result = v.safeParse(JobSpec, fields);
  if (result.success) return result.output;
  const problems = result.issues.map((issue) => `${fieldOf(issue)}: ${issue.message}`);
  const ways = [fields["command"], fields["trainer"]].filter((one) => one !== undefined).length;
  // The schema looks at fields together only when each is right by itself.
  if (ways !== 1 && !problems.some((one) => one.startsWith("spec: "))) {
    problems.push("spec: give either a command or a trainer's name");
  }
  throw new WaybillError(
    "invalid_request",
    `the job cannot be submitted:\n  ${problems.join("\n  ")}`,
  );
}

/** `spec.requirements.where[0]` */
function fieldOf({ path }: v.BaseIssue<unknown>): string {
  const keys = (path ?? []).map(({ key }) =>
    typeof key === "number" ? `[${key}]` : `.${String(key)}`,
  );
  return `spec${keys.join("")}`;
}

function present(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** `key=value` pairs and JSON files, later ones winning. */
async function configOf(parts: readonly string[]): Promise<Record<string, unknown>> {
  let config: Record<string, unknown> = {};
  for (const part of parts) {
    const at = part.indexOf("=");
    if (at > 0 && !existsSync(part)) {
      config[part.slice(0, at)] = jsonOrText(part.slice(at + 1));
      continue;
    }
    const text = await readFile(part, "utf8").catch((cause: unknown) => {
      throw new WaybillError(
        "invalid_request",
        `--config ${part} is neither key=value nor a file that can be read`,
        { cause },
      );
    });
    const Json = v.pipe(
      v.record(v.string(), v.unknown()),
      v.check((value) => !Array.isArray(value), "not a JSON object"),
    );
    config = { ...config, ...decodeJson(Json, text, part, MAX_CONFIG_BYTES) };
  }
  return config;
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// What kind of model a folder holds, and what its files say of it.
import { WaybillError } from "@waybill/sdk/protocol";
import { detectCheckpoint } from "./checkpoint-file.ts";
import type { Detected } from "./detected.ts";
import type { ModelFolder } from "./folder.ts";
import { detectHuggingFace } from "./hugging-face.ts";
import { detectSleap } from "./sleap-run.ts";

export type ImportFormat = "auto" | "sleap" | "huggingface" | "checkpoint";

const DETECTORS = [
  ["sleap", detectSleap, "a training_config or initial_config with SLEAP's heads"],
  ["huggingface", detectHuggingFace, "a config.json (or adapter_config.json) beside weights"],
  ["checkpoint", detectCheckpoint, "exactly one file of weights"],
] as const;

/**
 * The most telling format that fits, or the one asked for. Throws `invalid_request` when the one asked for does not fit; of others,
 * files that cannot be read are passed over with a warning.
 */
export async function detectModel(
  folder: ModelFolder,
  format: ImportFormat = "auto",
): Promise<Detected> {
  const unread: string[] = [];
  for (const [name, detect, what] of DETECTORS) {
    if (format !== "auto" && format !== name) continue;
    const detected = await detect(folder).catch((error: unknown) => {
      if (format !== "auto" || !isUnreadable(error)) throw error;
      unread.push(`${error.message}; it is passed over`);
      return undefined;
    });
    if (detected !== undefined) {
      return { ...detected, warnings: [...unread, ...detected.warnings] };
    }
    if (format === "auto") continue;
    throw new WaybillError("invalid_request", `${folder.source} is no ${name}: it lacks ${what}`);
  }
  return {
    format: "folder",
    config: {},
    metrics: {},
    tags: [],
    found: [],
    missing: DETECTORS.map(([, , what]) => what),
    warnings: unread,
  };
}

function isUnreadable(error: unknown): error is WaybillError {
  return error instanceof WaybillError && error.code === "invalid_request";
}

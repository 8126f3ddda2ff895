// A pipeline's output on the disk: a folder for each part, named by its type, and whatever else the training wrote.
import { constants } from "node:fs";
import { copyFile, link, mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  type ArtifactId,
  type ModelType,
  type Pipeline,
  WaybillError,
  partTypesOf,
} from "@waybill/sdk/protocol";
import { removeTree } from "../data-dir/data-dir.ts";
import { measureTree } from "../cache/tree-state.ts";

const PIPELINE_FILE = "pipeline.json";

/** Throws `trainer_failed` when a pipeline's output lacks a part. */
export async function assertPartsThere(output: string, modelType: ModelType): Promise<void> {
  const types = partTypesOf(modelType) ?? [];
  const counts = await Promise.all(
    types.map(async (type) => (await measureTree(join(output, type))).files),
  );
  const missing = types.filter((_, i) => counts[i] === 0);
  if (missing.length === 0) return;
  const wanted = types.map((type) => `${type}/`).join(" and ");
  const lacks = missing.map((type) => `${type}/`).join(" and ");
  throw new WaybillError(
    "trainer_failed",
    `a ${modelType} job leaves its models in ${wanted} of WAYBILL_OUTPUT: there is nothing in ${lacks}`,
  );
}

export type PartMade = Pipeline["parts"][number] & { readonly artifact: ArtifactId };

/**
 * Makes the directory of the pipeline's own artifact: `pipeline.json`, and links to what the training wrote besides the parts.
 * The same again after a crash.
 */
export async function layOutPipeline(
  output: string,
  type: ModelType,
  parts: readonly PartMade[],
): Promise<string> {
  const dir = join(dirname(output), "pipeline");
  await removeTree(dir);
  await mkdir(dir, { recursive: true });
  const folders = new Set<string>(parts.map(({ model_type }) => model_type));
  // A `pipeline.json` of the trainer's would say something else than the registry.
  await linkTree(output, dir, (name) => !folders.has(name) && name !== PIPELINE_FILE);
  const described = parts.map(({ model_type, model, artifact }) => ({
    model_type,
    model,
    artifact,
  }));
  const text = JSON.stringify({ format: 1, type, parts: described }, undefined, 2);
  await writeFile(join(dir, PIPELINE_FILE), `${text}\n`);
  return dir;
}

async function linkTree(
  from: string,
  to: string,
  wanted: (name: string) => boolean,
): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (!wanted(entry.name)) continue;
    const [source, place] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) {
      await mkdir(place);
      await linkTree(source, place, () => true);
    } else {
      // Not every file system has hard links; blocks may be shared all the same.
      await link(source, place).catch(() => copyFile(source, place, constants.COPYFILE_FICLONE));
    }
  }
}

// The own files of a pipeline that is imported: what lies beside its parts, and a pipeline.json that names them by the ids
// they have in this room (docs/protocol/registry.md, Pipelines).
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { scanTree } from "@waybill/sdk/artifact";
import type { ArtifactId, ModelId, ModelType } from "@waybill/sdk/protocol";
import { ModelFolder } from "./folder.ts";

const PIPELINE_FILE = "pipeline.json";

type Part = {
  readonly modelType: ModelType;
  readonly id: ModelId;
  readonly artifact: ArtifactId;
};

/** The folder itself when it names these parts already, as an export does; else a copy, gone when it is disposed of. */
export async function pipelineFolder(
  folder: ModelFolder,
  type: ModelType,
  parts: readonly Part[],
): Promise<AsyncDisposable & { readonly folder: ModelFolder }> {
  const named = parts.map(({ modelType, id, artifact }) => ({
    model_type: modelType,
    model: id,
    artifact,
  }));
  const text = `${JSON.stringify({ format: 1, type, parts: named }, undefined, 2)}\n`;
  if ((await folder.text(PIPELINE_FILE)) === text) {
    return { folder, [Symbol.asyncDispose]: async () => undefined };
  }
  const temporary = await mkdtemp(path.join(tmpdir(), "waybill-import-"));
  const dispose = () => rm(temporary, { recursive: true, force: true });
  try {
    // Named as the original: an import says where it is from.
    const dir = path.join(temporary, path.basename(folder.scan.root));
    await mkdir(dir);
    for (const { path: file } of folder.scan.files) {
      if (file === PIPELINE_FILE) continue;
      await mkdir(path.dirname(path.join(dir, file)), { recursive: true });
      await copyFile(path.join(folder.scan.root, file), path.join(dir, file));
    }
    await writeFile(path.join(dir, PIPELINE_FILE), text);
    return { folder: new ModelFolder(await scanTree(dir)), [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

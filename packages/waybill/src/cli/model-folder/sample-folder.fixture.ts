// Small folders that look like models, for tests.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { scanTree } from "@waybill/sdk/artifact";
import { ModelFolder } from "./folder.ts";

/** A folder with these files, gone when it is disposed of. */
export async function folderOf(
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<AsyncDisposable & { readonly folder: ModelFolder }> {
  const root = await mkdtemp(path.join(tmpdir(), "waybill-folder-"));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await writeFile(path.join(root, name), content);
  }
  return {
    folder: new ModelFolder(await scanTree(root)),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
  };
}

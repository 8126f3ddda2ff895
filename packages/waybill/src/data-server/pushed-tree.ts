// A tree that is being pushed as what a data server serves: one artifact, for as long as its files are those that were hashed.
import type { ArtifactId, ArtifactManifest } from "@waybill/sdk/protocol";
import type { TreeObjects } from "./tree-objects.ts";
import type { TreeProvider } from "./tree-provider.ts";

export function pushedTree(
  artifact: ArtifactId,
  { manifest, objects }: { readonly manifest: ArtifactManifest; readonly objects: TreeObjects },
): TreeProvider {
  const bytes = manifest.files.reduce((sum, { size }) => sum + size, 0);
  return {
    list: async () => [{ artifact, bytes }],
    open: async (asked) =>
      asked === artifact ? { manifest, objects, release: () => undefined } : undefined,
  };
}

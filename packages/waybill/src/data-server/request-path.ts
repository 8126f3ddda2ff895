// What a path of the data server names (docs/protocol/data-server.md §1).
import { ArtifactId, MANIFEST_KEY } from "@waybill/sdk/protocol";
import * as v from "valibot";

export type Wanted =
  | { readonly kind: "list" }
  | { readonly kind: "stats" }
  | { readonly kind: "manifest"; readonly artifact: ArtifactId }
  | { readonly kind: "damaged"; readonly artifact: ArtifactId }
  | { readonly kind: "object"; readonly artifact: ArtifactId; readonly key: string };

const ARTIFACTS = "/v1/artifacts";
const OBJECTS = "/objects/";
const DAMAGED = "/damaged";

/** `announced`: what paths without an artifact mean (arriving.md §4). Undefined for what names nothing. */
export function parsePath(path: string, announced: ArtifactId | undefined): Wanted | undefined {
  if (announced !== undefined && path.startsWith(OBJECTS)) return objectAt(announced, path);
  if (path === ARTIFACTS) return { kind: "list" };
  if (path === "/v1/stats") return { kind: "stats" };
  if (!path.startsWith(`${ARTIFACTS}/`)) return undefined;
  const end = path.indexOf("/", ARTIFACTS.length + 1);
  const id = v.safeParse(ArtifactId, path.slice(ARTIFACTS.length + 1, end));
  if (end === -1 || !id.success) return undefined;
  const rest = path.slice(end);
  if (rest === DAMAGED) return { kind: "damaged", artifact: id.output };
  return rest === `/${MANIFEST_KEY}`
    ? { kind: "manifest", artifact: id.output }
    : objectAt(id.output, rest);
}

function objectAt(artifact: ArtifactId, path: string): Wanted | undefined {
  if (!path.startsWith(OBJECTS)) return undefined;
  try {
    // Whatever comes out is looked up among the artifact's keys, and nowhere else.
    const key = path.slice(OBJECTS.length).split("/").map(decodeURIComponent).join("/");
    return { kind: "object", artifact, key };
  } catch {
    return undefined;
  }
}

// How the hub's double finds the handler of a request, and where the parts of what it keeps begin.
import { ShardMap } from "../artifact/index.ts";
import {
  type ArtifactManifest,
  ROUTE_NAMES,
  type RouteName,
  type UploadPlan,
  WaybillError,
  partOffset,
  routeOf,
} from "../protocol/index.ts";

/** Where part n of an object begins in storage: at its offset, or, in an encoded object, at the frame it begins with. */
export function partsEnd({ unitBytes }: UploadPlan, manifest?: ArtifactManifest) {
  const map = manifest?.stored === undefined ? undefined : new ShardMap(manifest);
  return (path: string, part: number): number => {
    const offset = partOffset(part, unitBytes);
    const of = Object.entries(manifest?.stored ?? {}).find(([key]) => path.endsWith(`/${key}`))?.[1]
      .of;
    if (map === undefined || of === undefined) return offset;
    const file =
      map.manifest.layout === "packed" ? 0 : map.manifest.files.findIndex((one) => one.path === of);
    const first = map.manifest.layout === "packed" ? 0 : map.shardsOf(file).first;
    let shard = first;
    while (shard < map.objectEnd(first) && map.position(shard) - map.position(first) < offset)
      shard++;
    return shard === first ? 0 : map.storedBytesOf({ first, count: shard - first });
  };
}

/** The route of a request, with what its path names. Throws `not_found`. */
export function matchRoute(
  method: string,
  path: string,
): { name: RouteName; params: Record<string, string> } {
  for (const name of ROUTE_NAMES) {
    const route = routeOf(name);
    if (route.method !== method) continue;
    const names: string[] = [];
    const pattern = route.path.replaceAll(/:([a-z]+)/gi, (_, key: string) => {
      names.push(key);
      return "([^/]+)";
    });
    const found = new RegExp(`^${pattern}$`).exec(path);
    if (found === null) continue;
    const values = names.map((key, at) => [key, decodeURIComponent(found[at + 1] ?? "")] as const);
    return { name, params: Object.fromEntries(values) };
  }
  throw new WaybillError("not_found", `no route ${method} ${path}`);
}

// What every command that pushes a path understands the same way.
import { existsSync } from "node:fs";
import path from "node:path";
import type { PushOptions } from "@waybill/sdk/client";
import { ArtifactName, WaybillError, decodeValue } from "@waybill/sdk/protocol";

export type PushArguments = {
  readonly name?: string;
  readonly keep?: boolean;
  readonly dedupe?: boolean;
  readonly compress?: PushOptions["compress"];
  readonly limitUp?: string;
};

/** The part of a push's options that the arguments settle. Throws `invalid_request` for a name, `not_found` for a path. */
export function pushOptions(
  source: string,
  { name, keep, dedupe, compress }: PushArguments,
): Pick<PushOptions, "path" | "purpose" | "dedupe" | "compress"> & { readonly name: ArtifactName } {
  const given = name ?? path.basename(path.resolve(source));
  const decoded = decodeValue(ArtifactName, given, `name "${given}"`);
  if (!existsSync(source)) {
    throw new WaybillError("not_found", `there is no file or folder ${source}`);
  }
  return {
    path: source,
    name: decoded,
    purpose: { kind: "dataset", keep: keep === true },
    dedupe: dedupe !== false,
    ...(compress === undefined ? {} : { compress }),
  };
}

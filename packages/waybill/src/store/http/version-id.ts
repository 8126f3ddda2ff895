/** Version ids in a store without versions: every object's is `null`. */
import { S3Error } from "../s3-error.ts";

/** @throws S3Error `NoSuchVersion` for any other version than the only one */
export function checkVersion(versionId: string | undefined): void {
  if (versionId === undefined || versionId === "null") return;
  if (versionId === "") {
    throw new S3Error("InvalidArgument", {
      message: "Version id cannot be the empty string",
      details: { ArgumentName: "versionId", ArgumentValue: "" },
    });
  }
  throw new S3Error("NoSuchVersion", { details: { VersionId: versionId } });
}

// Errors of the file system in words that say what to do.
import { WaybillError, messageOf } from "../protocol/index.ts";

/** The system's name of an error, such as `ENOSPC`. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

/** The sentence for each reason people meet; the rest keeps the system's own words. */
export function ioError(verb: string, name: string, cause: unknown): WaybillError {
  if (cause instanceof WaybillError) return cause;
  switch (codeOf(cause)) {
    case "ENOSPC":
    case "EDQUOT":
      return new WaybillError("storage_full", `no space left to ${verb} ${name}`, {
        hint: "free some space and run the same command again: what has arrived is kept",
        cause,
      });
    case "EACCES":
    case "EPERM":
      return new WaybillError("local_io", `no permission to ${verb} ${name}`, {
        hint: "check the owner and mode of the file and of the folders above it",
        cause,
      });
    case "EROFS":
      return new WaybillError("local_io", `cannot ${verb} ${name}: its disk is read-only`, {
        hint: "choose a folder on a writable disk",
        cause,
      });
    case "ENOENT":
      return new WaybillError("local_io", `cannot ${verb} ${name}: it is not there (any more)`, {
        cause,
      });
    case "ENOTDIR":
      return new WaybillError(
        "local_io",
        `cannot ${verb} ${name}: something on its path is not a folder`,
        { cause },
      );
    case "EISDIR":
      return new WaybillError("local_io", `cannot ${verb} ${name}: it is a folder`, { cause });
    case "EMFILE":
    case "ENFILE":
      return new WaybillError("local_io", `cannot ${verb} ${name}: too many open files`, {
        hint: "raise the limit with `ulimit -n 4096`",
        cause,
      });
    default:
      return new WaybillError("local_io", `cannot ${verb} ${name}: ${messageOf(cause)}`, { cause });
  }
}

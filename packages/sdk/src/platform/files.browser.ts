// Browsers have no file system that a path leads to: trees are pushed and pulled by Node only. Importing
// this is harmless, so that one bundle serves both; using it says what is missing.
import { WaybillError } from "../protocol/index.ts";
import type { FileSystem } from "./file-system.ts";

export const files: FileSystem = new Proxy(Object.create(null) as FileSystem, {
  get: (_, property) => () => {
    throw new WaybillError(
      "local_io",
      `browsers have no file system (${String(property)} was called)`,
      { hint: "push and pull folders with the command line or from Node" },
    );
  },
});

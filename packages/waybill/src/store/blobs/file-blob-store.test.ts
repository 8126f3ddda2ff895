import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runBlobStoreTests } from "./blob-store.conformance.ts";
import { FileBlobStore } from "./file-blob-store.ts";

runBlobStoreTests("FileBlobStore", {
  async make() {
    const directory = await mkdtemp(join(tmpdir(), "waybill-blobs-"));
    return {
      async reopen() {
        const blobs = new FileBlobStore(directory);
        await blobs.open();
        return blobs;
      },
      remove: () => rm(directory, { recursive: true, force: true }),
    };
  },
});

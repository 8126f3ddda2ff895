// A model straight to the object store, past a hub that cannot be reached.
import { contentFingerprint, scanTree } from "@waybill/sdk/artifact";
import type { ArtifactName, RoomId, UploadPlan, UploadPurpose } from "@waybill/sdk/protocol";
import { layOutTree, runUpload } from "@waybill/sdk/transfer";
import type { StorePort } from "../ports.ts";
import { OwnSink } from "./own-sink.ts";
import { OwnStore, type OwnStoreInit } from "./own-store.ts";

/** Opens the store; nothing is asked of it before the first upload. */
export function openOwnStore(init: OwnStoreInit, now: () => number = Date.now): StorePort {
  const store = new OwnStore(init);
  return {
    upload: async ({ room, dir, prefix, name, purpose, signal, onProgress }) => {
      // A stray link in the output must not cost hours of training.
      const scan = await scanTree(dir, { signal, unsendable: "skip" });
      const startMs = performance.now();
      const plan = await planOf(scan, { room, name, purpose }, signal);
      const sink = new OwnSink({ store, prefix, now });
      const retryForMs = Number.POSITIVE_INFINITY;
      const { artifact, sentBytes } = await runUpload({
        scan,
        plan,
        sink,
        retryForMs,
        signal,
        onProgress,
      });
      const seconds = (performance.now() - startMs) / 1000;
      return {
        artifact,
        bytes: scan.bytes,
        sentBytes,
        files: scan.files.length,
        seconds,
        warnings: scan.warnings,
      };
    },
    remove: (prefix, signal) => store.remove(prefix, { signal }),
    close: () => store.close(),
  };
}

async function planOf(
  scan: Awaited<ReturnType<typeof scanTree>>,
  {
    name,
    purpose,
  }: { readonly room: RoomId; readonly name: ArtifactName; readonly purpose: UploadPurpose },
  signal: AbortSignal,
): Promise<UploadPlan> {
  const { layout, shardBytes, objects, rule } = layOutTree(scan);
  const fingerprint = await contentFingerprint(scan, { purpose, salt: "" }, signal);
  const { unitBytes } = rule;
  return {
    fingerprint,
    name,
    purpose,
    layout,
    shardBytes,
    unitBytes,
    bytes: scan.bytes,
    objects: [...objects],
  };
}

import { runBucketTests } from "./bucket.conformance.ts";
import { MemoryBucket } from "./memory-bucket.ts";
import { MemoryMultipartUploads } from "./memory-multipart.ts";
import { runMultipartTests } from "./multipart.conformance.ts";

runBucketTests("memory", async () => new MemoryBucket());
runMultipartTests("memory", async () => {
  const bucket = new MemoryBucket();
  const multipart = new MemoryMultipartUploads(bucket);
  const putPart = async (_: string, uploadId: string, part: number, body: Uint8Array) =>
    multipart.putPart(uploadId, part, body);
  return { bucket, multipart, putPart };
});

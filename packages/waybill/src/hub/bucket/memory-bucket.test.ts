import { runBucketTests } from "./bucket.conformance.ts";
import { MemoryBucket } from "./memory-bucket.ts";

runBucketTests("memory", async () => new MemoryBucket());

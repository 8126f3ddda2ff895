// The peer "lib-storage": what most Node programs do. Run as a process of its own, so that it is timed whole.
//   node lib-storage.ts put ENDPOINT BUCKET KEY FILE
//   node lib-storage.ts get ENDPOINT BUCKET KEY FILE
import { createReadStream, createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { GetObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";

const [, , verb, endpoint = "", Bucket = "", Key = "", file = ""] = process.argv;
const client = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true });
if (verb === "put") {
  // Larger parts and more of them at once than its defaults (5 MiB, 4): faster on every link tried.
  const upload = new Upload({
    client,
    params: { Bucket, Key, Body: createReadStream(file, { highWaterMark: 1024 * 1024 }) },
    partSize: 16 * 1024 * 1024,
    queueSize: 8,
  });
  await upload.done();
} else {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }));
  if (!(Body instanceof Readable)) throw new Error("no body");
  await pipeline(Body, createWriteStream(file, { highWaterMark: 1024 * 1024 }));
}
client.destroy();

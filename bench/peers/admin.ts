// Prepares a store and cleans up in it, from wherever it is reached:
//   node admin.ts create ENDPOINT BUCKET
//   node admin.ts remove ENDPOINT BUCKET PREFIX     every object below the prefix; the bucket need not exist
import {
  CreateBucketCommand,
  DeleteObjectsCommand,
  ListObjectsV2Command,
  NoSuchBucket,
} from "@aws-sdk/client-s3";
import { s3Client } from "../setup/store.ts";

const [, , verb, endpoint = "", Bucket = "", Prefix = ""] = process.argv;
const s3 = s3Client({ endpoint, env: process.env });
if (verb === "create") {
  await s3.send(new CreateBucketCommand({ Bucket }));
} else {
  const list = () => s3.send(new ListObjectsV2Command({ Bucket, Prefix }));
  try {
    for (let page = await list(); (page.Contents ?? []).length > 0; page = await list()) {
      const Objects = (page.Contents ?? []).map(({ Key }) => ({ Key }));
      await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    }
  } catch (error) {
    if (!(error instanceof NoSuchBucket)) throw error;
  }
}
s3.destroy();

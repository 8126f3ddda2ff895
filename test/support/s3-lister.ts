// Looks into a bucket as any S3 program does.
import { ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";

export function createS3Client(
  endpoint: string,
  region: string,
  credentials: { readonly accessKeyId: string; readonly secretAccessKey: string },
): { readonly client: S3Client; [Symbol.asyncDispose](): Promise<void> } {
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true });
  return { client, [Symbol.asyncDispose]: async () => client.destroy() };
}

export async function listKeys(
  { client }: { readonly client: S3Client },
  bucket: string,
  prefix: string,
): Promise<string[]> {
  const { Contents = [] } = await client.send(
    new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }),
  );
  return Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key]));
}

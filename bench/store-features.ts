// node bench/store-features.ts [--only versitygw]: what each store can do of what a hub asks of it, asked over
// the wire. Prints one line a feature; no figure depends on it, but the choice of the neutral store does.
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListPartsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { startBenchHub } from "./setup/hub.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { inScope } from "./setup/scope.ts";
import { s3Client, startStore } from "./setup/store.ts";

const MIB = 1024 * 1024;
const Bucket = "features";

function checksum(body: Uint8Array): string {
  const value = Buffer.alloc(4);
  value.writeUInt32BE(crc32(body));
  return value.toString("base64");
}

/** The status, and the error code of a failure. */
async function outcome(asked: Promise<unknown>): Promise<string> {
  try {
    await asked;
    return "ok";
  } catch (error) {
    const { name, $metadata } = error as { name: string; $metadata?: { httpStatusCode?: number } };
    return `${$metadata?.httpStatusCode ?? "?"} ${name}`;
  }
}

type Probe = readonly [what: string, ask: (s3: S3Client) => Promise<string>];

const CONDITIONS: readonly Probe[] = [
  [
    "PUT If-None-Match: * creates, then refuses",
    async (s3) => {
      const put = () =>
        outcome(s3.send(new PutObjectCommand({ Bucket, Key: "a", Body: "1", IfNoneMatch: "*" })));
      return `${await put()}, ${await put()}`;
    },
  ],
  [
    "PUT If-Match: right, wrong",
    async (s3) => {
      const { ETag } = await s3.send(new HeadObjectCommand({ Bucket, Key: "a" }));
      const put = (IfMatch: string) =>
        outcome(s3.send(new PutObjectCommand({ Bucket, Key: "a", Body: "2", IfMatch })));
      return `${await put(ETag ?? "")}, ${await put(`"${createHash("md5").digest("hex")}"`)}`;
    },
  ],
  [
    "PUT with CRC32: right, wrong",
    async (s3) => {
      const Body = Buffer.from("body");
      const put = (ChecksumCRC32: string) =>
        outcome(s3.send(new PutObjectCommand({ Bucket, Key: "crc", Body, ChecksumCRC32 })));
      return `${await put(checksum(Body))}, ${await put("AAAAAA==")}`;
    },
  ],
  [
    "HEAD tells an object's CRC32",
    async (s3) => {
      const head = await s3.send(
        new HeadObjectCommand({ Bucket, Key: "crc", ChecksumMode: "ENABLED" }),
      );
      return head.ChecksumCRC32 === checksum(Buffer.from("body")) ? "yes" : "no";
    },
  ],
  [
    "lifecycle rule",
    (s3) =>
      outcome(
        s3.send(
          new PutBucketLifecycleConfigurationCommand({
            Bucket,
            LifecycleConfiguration: {
              Rules: [
                { ID: "r", Status: "Enabled", Filter: { Prefix: "x/" }, Expiration: { Days: 7 } },
              ],
            },
          }),
        ),
      ),
  ],
];

/** What a CRC-32 is that was told of bytes 1 to 6 MiB of the copied objects. */
function tells(crc: string | undefined): string {
  if (crc === checksum(Buffer.alloc(5 * MIB, 3))) return "yes";
  if (crc === undefined) return "no";
  return crc === checksum(Buffer.alloc(12 * MIB, 3)) ? "that of the whole source" : "a wrong one";
}

/** Fills `found` as far as the store goes. */
async function multipart(s3: S3Client, found: Map<string, string>): Promise<void> {
  const bodies = new Map([
    [1, Buffer.alloc(6 * MIB, 1)],
    [4, Buffer.alloc(5 * MIB, 2)],
  ]);
  const { UploadId } = await s3.send(
    new CreateMultipartUploadCommand({
      Bucket,
      Key: "parts",
      ChecksumAlgorithm: "CRC32",
      ChecksumType: "COMPOSITE",
    }),
  );
  const upload = { Bucket, Key: "parts", UploadId };
  for (const [PartNumber, Body] of bodies) {
    const part = { ...upload, PartNumber, Body, ChecksumCRC32: checksum(Body) };
    found.set(`part ${PartNumber} with CRC32`, await outcome(s3.send(new UploadPartCommand(part))));
  }
  const wrong = { ...upload, PartNumber: 9, Body: Buffer.alloc(MIB), ChecksumCRC32: "AAAAAA==" };
  found.set("part with a wrong CRC32", await outcome(s3.send(new UploadPartCommand(wrong))));
  await s3.send(new PutObjectCommand({ Bucket, Key: "plain", Body: Buffer.alloc(12 * MIB, 3) }));
  await s3.send(
    new PutObjectCommand({
      Bucket,
      Key: "base",
      Body: Buffer.alloc(12 * MIB, 3),
      ChecksumAlgorithm: "CRC32",
    }),
  );
  for (const [part, source, what] of [
    [7, "base", "an object put with CRC32"],
    [8, "plain", "an object put without"],
  ] as const) {
    const copy = new UploadPartCopyCommand({
      ...upload,
      PartNumber: part,
      CopySource: `${Bucket}/${source}`,
      CopySourceRange: `bytes=${MIB}-${6 * MIB - 1}`,
    });
    let crc: string | undefined;
    const copied = await outcome(
      s3.send(copy).then(({ CopyPartResult }) => (crc = CopyPartResult?.ChecksumCRC32)),
    );
    found.set(`UploadPartCopy of a range of ${what}`, copied);
    found.set(`… tells CRC32 (${source})`, tells(crc));
  }
  const listed = (await s3.send(new ListPartsCommand(upload))).Parts ?? [];
  const crcOf = (number: number) =>
    listed.find(({ PartNumber }) => PartNumber === number)?.ChecksumCRC32;
  const kept = [...bodies].every(([number, body]) => crcOf(number) === checksum(body));
  found.set("ListParts tells CRC32 of sent parts", kept ? "yes" : "no");
  found.set("ListParts tells CRC32 of copied parts", tells(crcOf(7)));
  const complete = new CompleteMultipartUploadCommand({
    ...upload,
    MultipartUpload: {
      Parts: listed
        .filter(({ PartNumber = 9 }) => PartNumber < 8)
        .map(({ PartNumber, ETag, ChecksumCRC32 }) => ({
          PartNumber,
          ETag,
          ...(ChecksumCRC32 === undefined ? {} : { ChecksumCRC32 }),
        })),
    },
  });
  found.set("completing parts 1, 4, 7 of unequal size", await outcome(s3.send(complete)));
  const second = await s3.send(
    new CreateMultipartUploadCommand({ Bucket, Key: "second", ChecksumAlgorithm: "CRC32" }),
  );
  const fromParts = await s3
    .send(
      new UploadPartCopyCommand({
        Bucket,
        Key: "second",
        UploadId: second.UploadId,
        PartNumber: 1,
        CopySource: `${Bucket}/parts`,
        CopySourceRange: `bytes=${11 * MIB}-${16 * MIB - 1}`,
      }),
    )
    .then(({ CopyPartResult }) => CopyPartResult?.ChecksumCRC32)
    .catch(() => undefined);
  found.set("… tells CRC32 (an object joined of parts)", tells(fromParts));
  const range = await s3
    .send(new GetObjectCommand({ Bucket, Key: "parts", Range: `bytes=${6 * MIB - 1}-${6 * MIB}` }))
    .then(async ({ Body }) => [...((await Body?.transformToByteArray()) ?? [])].join(" "))
    .catch((error: unknown) => (error as Error).name);
  found.set("a range over a part's edge", range === "1 2" ? "yes" : range);
  const whole = await s3
    .send(
      new CopyObjectCommand({
        Bucket,
        Key: "copy",
        CopySource: `${Bucket}/crc`,
        ChecksumAlgorithm: "CRC32",
      }),
    )
    .catch(() => undefined);
  found.set(
    "CopyObject tells CRC32",
    whole?.CopyObjectResult?.ChecksumCRC32 === checksum(Buffer.from("body")) ? "yes" : "no",
  );
}

const options = readOptions({ mib: 1, rounds: 1 });
await inScope(async (scope) => {
  const columns = new Map<string, Map<string, string>>();
  for (const kind of ["versitygw", "minio", "embedded"] as const) {
    if (options.only.length > 0 && !options.only.includes(kind)) continue;
    const store =
      kind === "embedded"
        ? (await startBenchHub(scope, { name: "features" })).store
        : await startStore(scope, kind);
    const s3 = s3Client(store);
    const answers = new Map<string, string>();
    answers.set("create a bucket", await outcome(s3.send(new CreateBucketCommand({ Bucket }))));
    for (const [what, ask] of CONDITIONS)
      answers.set(what, await ask(s3).catch((error: unknown) => (error as Error).name));
    try {
      await multipart(s3, answers);
    } catch (error) {
      answers.set("multipart upload", (error as Error).message);
    }
    columns.set(kind, answers);
    s3.destroy();
  }
  const features = [...new Set([...columns.values()].flatMap((answers) => [...answers.keys()]))];
  const rows = [
    ["feature", ...columns.keys()],
    ...features.map((what) => [what, ...[...columns.values()].map((one) => one.get(what) ?? "–")]),
  ];
  await report("store-features", options, [{ title: "Stores", rows, data: rows }]);
});

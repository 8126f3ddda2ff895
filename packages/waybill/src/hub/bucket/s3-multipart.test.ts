import type { CreateMultipartUploadCommand } from "@aws-sdk/client-s3";
import { describe, expect, it } from "vitest";
import { S3MultipartUploads } from "./s3-multipart.ts";

/** A store that takes only some checksum types, and what it was asked for. */
function uploadsOf(refuses: (type: string | undefined) => string | undefined) {
  const asked: (string | undefined)[] = [];
  const client = {
    send: async ({ input }: CreateMultipartUploadCommand) => {
      asked.push(input.ChecksumType);
      const refusal = refuses(input.ChecksumType);
      if (refusal !== undefined) throw Object.assign(new Error("refused"), { name: refusal });
      return { UploadId: "id" };
    },
  };
  return { asked, uploads: new S3MultipartUploads(client as never, {} as never, "bucket") };
}

describe("a multipart upload", () => {
  it("keeps the whole object's checksum", async () => {
    const { asked, uploads } = uploadsOf(() => undefined);
    expect(await uploads.create("key")).toBe("id");
    expect(asked).toEqual(["FULL_OBJECT"]);
  });

  it("keeps composites in stores that know no other, and does not ask again", async () => {
    const { asked, uploads } = uploadsOf((type) =>
      type === "FULL_OBJECT" ? "InvalidRequest" : undefined,
    );
    expect(await uploads.create("one")).toBe("id");
    expect(await uploads.create("two")).toBe("id");
    expect(asked).toEqual(["FULL_OBJECT", "COMPOSITE", "COMPOSITE"]);
  });

  it("that is refused for another reason fails, and the type is not given up", async () => {
    const { asked, uploads } = uploadsOf(() => "AccessDenied");
    const failed = { code: "storage_failed" };
    await expect(uploads.create("one")).rejects.toMatchObject(failed);
    await expect(uploads.create("two")).rejects.toMatchObject(failed);
    expect(asked).toEqual(["FULL_OBJECT", "FULL_OBJECT"]);
  });
});

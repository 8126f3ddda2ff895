import { createServer, type RequestListener } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { WaybillError } from "@waybill/sdk/protocol";
import { Presigner } from "../storage/presign.ts";
import { S3Http } from "./s3-http.ts";

const cleaners: (() => void)[] = [];
afterEach(() => {
  for (const clean of cleaners.splice(0)) clean();
});

/** A store that answers the n-th request with the n-th listener, and the last one from then on. */
async function storeThat(...listeners: RequestListener[]) {
  let requests = 0;
  const server = createServer((request, response) => {
    const listener = listeners[Math.min(requests, listeners.length - 1)];
    requests += 1;
    listener?.(request, response);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const presigner = new Presigner({
    endpoint: `http://127.0.0.1:${address.port}`,
    region: "us-east-1",
    credentials: async () => ({ accessKeyId: "AKIDEXAMPLE", secretAccessKey: "hidden" }),
    clock: Date.now,
  });
  const s3 = new S3Http({ presigner, maxSockets: 4 });
  cleaners.push(() => {
    s3.destroy();
    server.closeAllConnections();
    server.close();
  });
  return { s3, requests: () => requests };
}

const get = { method: "GET", bucket: "rooms", key: "lab/room.json" } as const;
const ok: RequestListener = (_, response) => response.end("fine");
const drop: RequestListener = (request) => request.socket.destroy();
const status =
  (code: number, error: string): RequestListener =>
  (_, response) => {
    response.writeHead(code).end(`<Error><Code>${error}</Code></Error>`);
  };

describe("S3Http", () => {
  it("tries again when the connection breaks or the store is busy", async () => {
    const { s3, requests } = await storeThat(drop, status(503, "SlowDown"), ok);
    const answer = await s3.send(get, "reading");
    expect([answer.status, answer.body.toString(), requests()]).toEqual([200, "fine", 3]);
  });

  it("gives up when the time for all tries together is over", async () => {
    const { s3, requests } = await storeThat(drop, () => {}, ok);
    await expect(s3.send({ ...get, withinMs: 200.5 }, "writing")).rejects.toMatchObject({
      code: "storage_failed",
    });
    expect(requests()).toBe(2);
  });

  it("tries again when an answer breaks off", async () => {
    const cut: RequestListener = (_, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("half");
      response.socket?.end();
    };
    const { s3 } = await storeThat(cut, ok);
    expect((await s3.send(get, "reading")).body.toString()).toBe("fine");
  });

  it("gives up in the end, and says what failed without the signed URL (I10)", async () => {
    const { s3, requests } = await storeThat(status(500, "InternalError"));
    const error: unknown = await s3
      .send(get, "reading rooms/lab/room.json")
      .catch((e: unknown) => e);
    expect(error).toBeInstanceOf(WaybillError);
    expect(error).toMatchObject({ code: "storage_failed" });
    expect(String(error)).toContain("reading rooms/lab/room.json failed (InternalError, HTTP 500)");
    expect(String(error)).not.toMatch(/Signature|AKIDEXAMPLE/);
    expect(requests()).toBe(4);
  });

  it("does not repeat what the store has refused, and knows a full disk", async () => {
    const refused = await storeThat(status(412, "PreconditionFailed"));
    const put = { ...get, method: "PUT", body: new Uint8Array(3) } as const;
    expect(await refused.s3.send(put, "writing")).toMatchObject({
      status: 412,
      errorCode: "PreconditionFailed",
    });
    expect(refused.requests()).toBe(1);
    const full = await storeThat(status(507, "InsufficientStorage"));
    await expect(full.s3.send(put, "writing")).rejects.toMatchObject({ code: "storage_full" });
  });
});

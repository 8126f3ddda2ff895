import {
  ERROR_CODES,
  ErrorBody,
  LIMITS,
  PROTOCOL_VERSION,
  ROUTE_NAMES,
  routeOf,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { createApp } from "./app.ts";
import { TestHub } from "./hub.fixture.ts";
import type { LogFields } from "./log.ts";

const url = (path: string) => `http://hub.test${path}`;

async function errorOf(response: Response): Promise<ErrorBody["error"]> {
  return v.parse(ErrorBody, await response.json()).error;
}

describe("the hub's HTTP surface", () => {
  it("answers health and version to anybody", async () => {
    const hub = new TestHub();
    expect(await hub.anyone.call("health", {})).toEqual({ ok: true, store: "ok" });
    expect(await hub.anyone.call("version", {})).toMatchObject({ protocol: PROTOCOL_VERSION });
  });

  it("says when its store is away", async () => {
    const hub = new TestHub();
    hub.storage.interceptBy(() => {
      throw new Error("gone");
    });
    expect(await hub.anyone.call("health", {})).toEqual({ ok: false, store: "unreachable" });
  });

  it("gives every answer a request id, the caller's own when it is one", async () => {
    const { app } = new TestHub().areas;
    const given = await app.request(url("/v1/version"), { headers: { "x-request-id": "abc-1" } });
    expect(given.headers.get("x-request-id")).toBe("abc-1");
    const made = await app.request(url("/v1/version"), {
      headers: { "x-request-id": "no id: spaces" },
    });
    expect(made.headers.get("x-request-id")).toMatch(/^\w{12}$/);
    const refused = await app.request(url("/v1/nothing"));
    expect(refused.headers.get("x-request-id")).toMatch(/^\w{12}$/);
  });

  it("answers HEAD as GET without a body, 404 for what it has not, 405 with the methods it has", async () => {
    const { app } = new TestHub().areas;
    const head = await app.request(url("/v1/version"), { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    const missing = await app.request(url("/v1/nothing"));
    expect([missing.status, (await errorOf(missing)).code]).toEqual([404, "not_found"]);
    const wrong = await app.request(url("/v1/rooms/lab/uploads"), { method: "PUT" });
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "POST, GET, HEAD"]);
    expect((await errorOf(wrong)).message).toContain("PUT");
  });

  it("lets browsers of any origin in", async () => {
    const { app } = new TestHub().areas;
    const preflight = await app.request(url("/v1/rooms"), {
      method: "OPTIONS",
      headers: { origin: "https://app.example", "access-control-request-method": "POST" },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-headers")).toContain("dpop");
    const refused = await app.request(url("/v1/rooms/lab"), {
      headers: { origin: "https://app.example" },
    });
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([
      401,
      "*",
    ]);
  });

  it("names every wrong field of a body", async () => {
    const { app } = new TestHub().areas;
    const post = (body: string) => app.request(url("/v1/rooms"), { method: "POST", body });
    const wrong = await post('{"name":"Not A Room"}');
    expect(wrong.status).toBe(400);
    expect((await errorOf(wrong)).message).toMatch(/name: not a room name/);
    expect((await errorOf(await post("{"))).message).toContain("is not JSON");
  });

  it("refuses bodies over the limit, announced or not, before reading them whole", async () => {
    const { app } = new TestHub().areas;
    const big = "x".repeat(LIMITS.httpBodyBytes + 1);
    const announced = await app.request(url("/v1/rooms"), {
      method: "POST",
      body: big,
      headers: { "content-length": String(big.length) },
    });
    expect([announced.status, (await errorOf(announced)).code]).toEqual([413, "too_large"]);
    let pulled = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled += 1;
        controller.enqueue(new Uint8Array(64 * 1024));
      },
    });
    const streamed = await app.request(url("/v1/rooms"), {
      method: "POST",
      body: endless,
      duplex: "half",
    } as RequestInit);
    expect(streamed.status).toBe(413);
    expect(pulled).toBeLessThan(40);
  });

  it("tells a caller nothing of what went wrong inside, and the log everything", async () => {
    const logged: (LogFields | undefined)[] = [];
    const app = createApp({
      handlers: {
        version: async () => {
          throw new TypeError("password hunter2 was refused", { cause: new Error("deep down") });
        },
      },
      authenticator: {
        authenticate: () => Promise.reject(new Error("not asked")),
      },
      onActivity: () => {},
      remoteOf: () => "test",
      log: (_, message, fields) => void logged.push({ message, ...fields }),
    });
    const response = await app.request(url("/v1/version"), { headers: { "x-request-id": "r1" } });
    const text = await response.text();
    expect([response.status, text]).toEqual([500, expect.stringContaining("request r1")]);
    expect(text).not.toContain("hunter2");
    expect(logged).toMatchObject([{ requestId: "r1", status: 500, cause: "deep down" }]);
    const unserved = await app.request(url("/v1/health"));
    expect([unserved.status, (await errorOf(unserved)).code]).toEqual([503, "unreachable"]);
  });

  it("decodes names with slashes and percent signs in paths", async () => {
    const hub = new TestHub();
    const { client, room } = await hub.createRoom("lab");
    for (const ref of ["set/of 100% ümläuts", "a+b&c=d?e#f"]) {
      await expect(client.call("resolveArtifact", { params: { room, ref } })).rejects.toMatchObject(
        {
          code: "not_found",
          message: expect.stringContaining(ref),
        },
      );
    }
  });
});

describe("/openapi.json", () => {
  it("describes every route with its parameters, bodies and errors", async () => {
    const response = await new TestHub().areas.app.request(url("/openapi.json"));
    const Operation = v.object({
      operationId: v.string(),
      parameters: v.array(v.object({ name: v.string(), in: v.picklist(["path", "query"]) })),
      requestBody: v.optional(v.object({ content: v.record(v.string(), v.unknown()) })),
      responses: v.record(v.string(), v.unknown()),
      security: v.array(v.record(v.string(), v.array(v.string()))),
    });
    const Document = v.object({
      openapi: v.literal("3.1.0"),
      paths: v.record(v.string(), v.record(v.string(), Operation)),
      components: v.object({ schemas: v.record(v.string(), v.unknown()) }),
    });
    const text = await response.text();
    const document = v.parse(Document, JSON.parse(text));
    for (const name of ROUTE_NAMES) {
      const route = routeOf(name);
      const path = route.path.replaceAll(/:(\w+)/g, "{$1}");
      const operation = document.paths[path]?.[route.method.toLowerCase()];
      expect(operation, name).toMatchObject({ operationId: name });
      const wanted = new Set([...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]));
      const inPath = operation?.parameters.filter((parameter) => parameter.in === "path");
      expect(new Set(inPath?.map((parameter) => parameter.name)), name).toEqual(wanted);
      expect(operation?.requestBody !== undefined, name).toBe(
        route.body !== undefined || name === "putSample",
      );
      expect(operation?.security.length === 0, name).toBe(route.roles === "public");
    }
    for (const [, reference] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      expect(Object.keys(document.components.schemas)).toContain(reference);
    }
    for (const code of Object.keys(ERROR_CODES)) expect(text).toContain(code);
  });
});

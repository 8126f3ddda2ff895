// A hub for tests of transfers: upload sessions, artifact records and signed reads over real HTTP, in memory,
// with the same answers as the real one. It can be stopped and started again on its port.
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { join } from "node:path";
import { decodeManifest, artifactId } from "../artifact/index.ts";
import { HubClient } from "../hub-client/index.ts";
import {
  type ArtifactRecord,
  ErrorBody,
  MANIFEST_KEY,
  ROUTES,
  ROUTE_NAMES,
  type RouteBody,
  type RouteName,
  type RouteOutput,
  UploadId,
  type UploadPlan,
  type UploadStatus,
  WaybillError,
  decodeValue,
  messageOf,
  routeOf,
} from "../protocol/index.ts";
import { StoreDouble } from "./store-double.ts";

type Session = { readonly plan: UploadPlan; artifact?: string };
type Handler = (params: Record<string, string>, body: unknown) => unknown;

export class HubDouble {
  readonly store: StoreDouble;
  readonly sessions = new Map<string, Session>();
  readonly records = new Map<string, ArtifactRecord>();
  /** Calls by route, in order. */
  readonly calls: RouteName[] = [];
  /** Asked before each call; an error is answered instead. */
  fault: (route: RouteName) => WaybillError | undefined = () => undefined;
  #server: Server | undefined;
  #port = 0;

  constructor(dir: string) {
    this.store = new StoreDouble(join(dir, "store"));
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** A client without a token: the double asks for none. */
  client(retryForMs = 10_000): HubClient {
    return new HubClient({ url: this.url, retryForMs });
  }

  async start(): Promise<this> {
    await this.store.start();
    await this.startHub();
    return this;
  }

  async startHub(): Promise<void> {
    const server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    const address = server.address();
    if (address !== null && typeof address === "object") this.#port = address.port;
  }

  async stopHub(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    server?.closeAllConnections();
    await new Promise<void>((resolve) => {
      if (server === undefined) resolve();
      else server.close(() => resolve());
    });
  }

  async stop(): Promise<void> {
    await this.stopHub();
    await this.store.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  readonly #handlers: { readonly [N in RouteName]?: Handler } = {
    beginUpload: ({ room }, body) => this.#begin(room ?? "", body as RouteBody<"beginUpload">),
    showUpload: ({ upload }) => this.#status(upload ?? ""),
    signParts: ({ upload }, body) => this.#sign(upload ?? "", body as RouteBody<"signParts">),
    completeUpload: ({ upload }, body) =>
      this.#complete(upload ?? "", body as RouteBody<"completeUpload">),
    resolveArtifact: ({ ref }) => this.#resolve(ref ?? ""),
    signReads: ({ artifact }, body) => this.#reads(artifact ?? "", body as RouteBody<"signReads">),
  };

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
    const path = (request.url ?? "").split("?")[0] ?? "";
    const answer = (status: number, value: unknown) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    try {
      const { name, params } = match(request.method ?? "", path);
      this.calls.push(name);
      const error = this.fault(name);
      if (error !== undefined) throw error;
      const { body: schema } = routeOf(name);
      const text = Buffer.concat(chunks).toString("utf8");
      const body = schema === undefined ? undefined : decodeValue(schema, JSON.parse(text), name);
      const { response: shape } = routeOf(name);
      answer(200, decodeValue(shape, this.#handlers[name]?.(params, body), name));
    } catch (error) {
      const code = error instanceof WaybillError ? error.code : "internal";
      const status = error instanceof WaybillError ? error.status : 500;
      answer(
        status,
        decodeValue(ErrorBody, { error: { code, message: messageOf(error) } }, "error"),
      );
    }
  }

  #session(upload: string): Session {
    const session = this.sessions.get(upload);
    if (session === undefined) throw new WaybillError("not_found", `no upload ${upload}`);
    return session;
  }

  #begin(room: string, plan: UploadPlan): RouteOutput<"beginUpload"> {
    const upload = `u_${plan.fingerprint.slice(0, 24)}`;
    const resumed = this.sessions.has(upload);
    if (!resumed) this.sessions.set(upload, { plan });
    if (room === "") throw new WaybillError("not_found", "no such room");
    return { resumed, status: this.#status(upload) };
  }

  #status(upload: string): UploadStatus {
    const { plan, artifact } = this.#session(upload);
    const keys = [...plan.objects.map((object) => object.key), MANIFEST_KEY];
    const objects = keys.map((key) => {
      const whole = this.store.objects.get(`${upload}/${key}`);
      const parts = [...(this.store.parts.get(`${upload}/${key}`) ?? [])].map(
        ([part, { size, crc32 }]) => ({
          part,
          size,
          crc32,
        }),
      );
      const sum = whole?.crc32 === undefined ? {} : { crc32: whole.crc32 };
      return { key, size: whole?.size ?? 0, done: whole !== undefined, ...sum, parts };
    });
    const { name, bytes, partBytes } = plan;
    return decodeValue(
      ROUTES.showUpload.response,
      {
        upload,
        state: artifact === undefined ? "open" : "completed",
        name,
        ...(artifact === undefined ? {} : { artifact }),
        bytes,
        partBytes,
        createdAt: new Date(0).toISOString(),
        objects,
      },
      "status",
    );
  }

  #sign(upload: string, { parts }: RouteBody<"signParts">): RouteOutput<"signParts"> {
    this.#session(upload);
    return {
      parts: parts.map(({ key, part, size, crc32 }) => ({
        key,
        part,
        url: this.store.sign({ method: "PUT", key: `${upload}/${key}`, part }),
        headers: { "content-length": String(size), "x-amz-checksum-crc32": crc32 },
      })),
      expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    };
  }

  #complete(
    upload: string,
    { artifact, objects }: RouteBody<"completeUpload">,
  ): RouteOutput<"completeUpload"> {
    const session = this.#session(upload);
    for (const { key, parts } of objects) {
      const held = this.store.parts.get(`${upload}/${key}`);
      if (held === undefined) continue;
      if (parts.some((sum, at) => held.get(at + 1)?.crc32 !== sum) || held.size !== parts.length) {
        throw new WaybillError("conflict", `parts of ${key} are not those of the store`);
      }
      this.store.join(`${upload}/${key}`);
    }
    const text = new TextDecoder().decode(this.store.read(`${upload}/${MANIFEST_KEY}`));
    const manifest = decodeManifest(text, artifact);
    for (const { key, size } of session.plan.objects) {
      if (this.store.objects.get(`${upload}/${key}`)?.size !== size) {
        throw new WaybillError("conflict", `${key} is not there`);
      }
    }
    session.artifact = artifactId(manifest);
    const record: ArtifactRecord = {
      artifact,
      name: manifest.name,
      kind: session.plan.purpose.kind,
      layout: manifest.layout,
      files: manifest.files.length,
      bytes: manifest.files.reduce((sum, file) => sum + file.size, 0),
      manifestBytes: Buffer.byteLength(text),
      s3Path: `double/${decodeValue(UploadId, upload, "upload")}/`,
      createdAt: new Date().toISOString(),
    };
    this.records.set(artifact, record);
    return record;
  }

  #resolve(ref: string): ArtifactRecord {
    const record =
      this.records.get(ref) ??
      [...this.records.values()].findLast(
        ({ artifact, name }) => name === ref || (ref.length >= 8 && artifact.startsWith(ref)),
      );
    if (record === undefined) throw new WaybillError("not_found", `no artifact ${ref}`);
    return record;
  }

  #reads(artifact: string, { keys }: RouteBody<"signReads">): RouteOutput<"signReads"> {
    const upload = this.#resolve(artifact).s3Path.split("/")[1] ?? "";
    return {
      reads: keys.map((key) => ({
        key,
        url: this.store.sign({ method: "GET", key: `${upload}/${key}`, part: 0 }),
      })),
      expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    };
  }
}

function match(method: string, path: string): { name: RouteName; params: Record<string, string> } {
  for (const name of ROUTE_NAMES) {
    const route = routeOf(name);
    if (route.method !== method) continue;
    const names: string[] = [];
    const pattern = route.path.replaceAll(/:([a-z]+)/gi, (_, key: string) => {
      names.push(key);
      return "([^/]+)";
    });
    const found = new RegExp(`^${pattern}$`).exec(path);
    if (found === null) continue;
    const values = names.map((key, at) => [key, decodeURIComponent(found[at + 1] ?? "")] as const);
    return { name, params: Object.fromEntries(values) };
  }
  throw new WaybillError("not_found", `no route ${method} ${path}`);
}

// A hub for tests of transfers: upload sessions, artifact records and signed reads over real HTTP, in memory,
// with the same answers as the real one. It can be stopped and started again on its port.
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { join } from "node:path";
import { crc32 as sumOf } from "node:zlib";
import { artifactId, decodeManifest, manifestObjects } from "../artifact/index.ts";
import { HubClient } from "../hub-client/index.ts";
import {
  type ArtifactRecord,
  ErrorBody,
  type Holder,
  INLINE_READS,
  LIMITS,
  MANIFEST_KEY,
  ROUTES,
  type Reading,
  type RouteBody,
  type RouteName,
  type RouteOutput,
  UploadId,
  type UploadPlan,
  type UploadStatus,
  WaybillError,
  decodeValue,
  isPutAtOnce,
  messageOf,
  partOffset,
  routeOf,
} from "../protocol/index.ts";
import { crc32Base64 } from "../transfer/index.ts";
import { closeServer } from "./close-server.ts";
import { matchRoute, partsEnd } from "./hub-rules.ts";
import { StoreDouble } from "./store-double.ts";

type Session = { readonly plan: UploadPlan; artifact?: string };
type Handler = (params: Record<string, string>, body: unknown, query: URLSearchParams) => unknown;

export class HubDouble {
  readonly store: StoreDouble;
  readonly sessions = new Map<string, Session>();
  readonly records = new Map<string, ArtifactRecord>();
  /** Calls by route, in order. */
  readonly calls: RouteName[] = [];
  /** Asked before each call; an error is answered instead. */
  fault: (route: RouteName) => WaybillError | undefined = () => undefined;
  /** Set: all parts but an object's last must have this size (a multiple of 1 MiB). */
  equalPartBytes: number | undefined;
  /** How long URLs claim to be good. */
  validForMs = 3_600_000;
  /** Copies that are not made. */
  refuseCopy: (part: { readonly key: string; readonly part: number }) => boolean = () => false;
  /** Whether records come with what reading needs, when asked for. */
  givesReading = true;
  /** Peers that serve whatever is asked for. */
  holders: readonly Holder[] = [];
  /** Bytes that were copied instead of sent. */
  copiedBytes = 0;
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
    await closeServer(server);
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
    copyParts: ({ upload }, body) => this.#copy(upload ?? "", body as RouteBody<"copyParts">),
    completeUpload: ({ upload }, body) =>
      this.#complete(upload ?? "", body as RouteBody<"completeUpload">),
    abortUpload: ({ upload }) => {
      this.sessions.delete(upload ?? "");
      return { ok: true };
    },
    listArtifacts: () => ({ artifacts: [...this.records.values()] }),
    adoptArtifact: ({ artifact }, body) => {
      const record = this.#resolve(artifact ?? "");
      const { name } = body as RouteBody<"adoptArtifact">;
      this.records.set(record.artifact, { ...record, name });
      return { ...record, name };
    },
    resolveArtifact: ({ ref }, _, query) => {
      const record = this.#resolve(ref ?? "");
      const reading = this.givesReading && query.has("reading") ? this.#reading(record) : undefined;
      return { ...record, ...(reading === undefined ? {} : { reading }) };
    },
    showHolders: () => ({ holders: this.holders }),
    signReads: ({ artifact }, body) => this.#reads(artifact ?? "", body as RouteBody<"signReads">),
  };

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
    const [path = "", query] = (request.url ?? "").split("?");
    const answer = (status: number, value: unknown) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    try {
      const { name, params } = matchRoute(request.method ?? "", path);
      this.calls.push(name);
      const error = this.fault(name);
      if (error !== undefined) throw error;
      const { body: schema } = routeOf(name);
      const text = Buffer.concat(chunks).toString("utf8");
      const body = schema === undefined ? undefined : decodeValue(schema, JSON.parse(text), name);
      const { response: shape } = routeOf(name);
      answer(
        200,
        decodeValue(shape, this.#handlers[name]?.(params, body, new URLSearchParams(query)), name),
      );
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
    if (!resumed) this.sessions.set(upload, { plan: this.#adopted(plan) });
    if (room === "") throw new WaybillError("not_found", "no such room");
    return { resumed, status: this.#status(upload), storeOrigin: this.store.origin };
  }

  /** With equal parts, a unit is a part, and multipart objects are plain. */
  #adopted(plan: UploadPlan): UploadPlan {
    if (this.equalPartBytes === undefined) return plan;
    const objects = plan.objects.map((object) =>
      object.encoding === undefined || isPutAtOnce(object.size)
        ? object
        : { key: object.key.slice(0, -".zst".length), size: object.size },
    );
    return { ...plan, objects, unitBytes: this.equalPartBytes };
  }

  #status(upload: string): UploadStatus {
    const { plan, artifact } = this.#session(upload);
    const planned = [...plan.objects, { key: MANIFEST_KEY, size: 0 }];
    const objects = planned.map((object) => {
      const { key } = object;
      const whole = this.store.objects.get(`${upload}/${key}`);
      const parts = [...(this.store.parts.get(`${upload}/${key}`) ?? [])].map(([part, stored]) => ({
        part,
        size: stored.size,
        crc32: stored.crc32,
      }));
      const atOnce =
        whole?.crc32 === undefined
          ? {}
          : { crc32: whole.crc32, storedBytes: whole.size, etag: `"${whole.crc32}"` };
      return { ...object, done: whole !== undefined, ...atOnce, parts };
    });
    const { name, bytes, layout, shardBytes, unitBytes } = plan;
    const equal = this.equalPartBytes;
    return decodeValue(
      ROUTES.showUpload.response,
      {
        upload,
        state: artifact === undefined ? "open" : "completed",
        name,
        ...(artifact === undefined ? {} : { artifact }),
        bytes,
        layout,
        shardBytes,
        unitBytes,
        partRule: equal === undefined ? "any" : "equal",
        ...(equal === undefined ? {} : { equalPartBytes: equal }),
        createdAt: new Date(0).toISOString(),
        objects,
      },
      "status",
    );
  }

  #sign(upload: string, { parts }: RouteBody<"signParts">): RouteOutput<"signParts"> {
    const { plan } = this.#session(upload);
    for (const part of parts) this.#checkPart(plan, part);
    return {
      parts: parts.map(({ key, part, size, crc32, replaces }) => {
        const condition = part === 0 ? { ifMatch: replaces ?? null } : {};
        const permit = { method: "PUT", key: `${upload}/${key}`, part, ...condition };
        const headers = { "content-length": String(size), "x-amz-checksum-crc32": crc32 };
        return { key, part, url: this.store.sign(permit), headers };
      }),
      ...this.#validity(),
    };
  }

  #validity(): { readonly expiresAt: string; readonly validForMs: number } {
    const expiresAt = new Date(Date.now() + this.validForMs).toISOString();
    return { expiresAt, validForMs: this.validForMs };
  }

  /** The rule of parts, as the hub has it. */
  #checkPart(plan: UploadPlan, { key, part, size }: RouteBody<"signParts">["parts"][number]): void {
    const { size: total = size, encoding } =
      plan.objects.find((object) => object.key === key) ?? {};
    const wrong = (why: string) => new WaybillError("invalid_request", `${key} ${part}: ${why}`);
    if (part === 0) {
      if (!isPutAtOnce(total)) throw wrong("is not put at once");
      if (size !== total && encoding === undefined) throw wrong("has another size");
      return;
    }
    const isManifest = key === MANIFEST_KEY;
    if (!isManifest && isPutAtOnce(total)) throw wrong("is put at once");
    const end = partOffset(part, plan.unitBytes) + size;
    if (isManifest || end === total || encoding !== undefined) return;
    if (end > total || size % plan.unitBytes > 0 || size < LIMITS.s3MinPartBytes) {
      throw wrong(`has ${size} bytes`);
    }
    if (this.equalPartBytes !== undefined && size !== this.equalPartBytes)
      throw wrong("is unequal");
  }

  #copy(upload: string, { copies }: RouteBody<"copyParts">): RouteOutput<"copyParts"> {
    this.#session(upload);
    return {
      copied: copies.map(({ key, part, size, crc32, from }) => {
        const source = `${this.#uploadOf(from.artifact)}/${from.key}`;
        const bytes = this.store.readRange(source, from.start, size);
        if (this.refuseCopy({ key, part }) || crc32Base64(sumOf(bytes)) !== crc32) {
          return { key, part, copied: false, reason: "refused" };
        }
        this.store.keep(`${upload}/${key}`, part, bytes);
        this.copiedBytes += size;
        return { key, part, copied: true };
      }),
    };
  }

  #uploadOf(artifact: string): string {
    return this.#resolve(artifact).s3Path.split("/")[1] ?? "";
  }

  #complete(
    upload: string,
    { artifact, objects, name = this.#session(upload).plan.name }: RouteBody<"completeUpload">,
  ): RouteOutput<"completeUpload"> {
    const session = this.#session(upload);
    if (session.artifact !== undefined) {
      if (session.artifact !== artifact) throw new WaybillError("upload_completed", upload);
      const named = { ...this.#resolve(session.artifact), name };
      this.records.set(artifact, named);
      return named;
    }
    const parts = (key: string) => objects.find((one) => one.key === key)?.parts ?? [];
    this.#join(`${upload}/${MANIFEST_KEY}`, parts(MANIFEST_KEY), partsEnd(session.plan));
    const text = new TextDecoder().decode(this.store.read(`${upload}/${MANIFEST_KEY}`));
    const manifest = decodeManifest(text, artifact);
    const end = partsEnd(session.plan, manifest);
    for (const { key } of session.plan.objects) this.#join(`${upload}/${key}`, parts(key), end);
    for (const { key, storedBytes } of manifestObjects(manifest)) {
      if (this.store.objects.get(`${upload}/${key}`)?.size !== storedBytes) {
        throw new WaybillError("conflict", `${key} is not there`);
      }
    }
    session.artifact = artifactId(manifest);
    const record: ArtifactRecord = {
      artifact,
      name,
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

  #join(
    key: string,
    parts: readonly { readonly part: number; readonly crc32: string }[],
    endOf: ReturnType<typeof partsEnd>,
  ): void {
    if (parts.length === 0 || parts[0]?.part === 0) return;
    const held = this.store.parts.get(key);
    if (held === undefined) throw new WaybillError("conflict", `${key} has no parts`);
    let reached = 0;
    for (const { part, crc32 } of parts) {
      const stored = held.get(part);
      if (stored?.crc32 !== crc32) throw new WaybillError("conflict", `part ${part} of ${key}`);
      if (endOf(key, part) !== reached) throw new WaybillError("conflict", "no tiling");
      reached += stored.size;
    }
    this.store.join(
      key,
      parts.map(({ part }) => part),
    );
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

  #reading(record: ArtifactRecord): Reading {
    const manifest = new TextDecoder().decode(
      this.store.read(`${this.#uploadOf(record.artifact)}/${MANIFEST_KEY}`),
    );
    const objects = manifestObjects(decodeManifest(manifest, record.artifact));
    const keys = [MANIFEST_KEY, ...objects.map(({ key }) => key).slice(0, INLINE_READS)];
    return { ...this.#reads(record.artifact, { keys }), manifest };
  }

  #reads(artifact: string, { keys }: RouteBody<"signReads">): RouteOutput<"signReads"> {
    const upload = this.#uploadOf(artifact);
    return {
      reads: keys.map((key) => ({
        key,
        url: this.store.sign({ method: "GET", key: `${upload}/${key}`, part: 0 }),
      })),
      ...this.#validity(),
    };
  }
}

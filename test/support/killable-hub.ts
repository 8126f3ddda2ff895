// A hub in this process that can die as by SIGKILL: from one moment on nothing it does reaches the store or a peer, also
// what it was in the middle of. Its successor starts on the same bucket with the same secret.
import type { S3Credentials } from "../../packages/waybill/src/hub/storage/presign.ts";
import { type Hub, createHub } from "../../packages/waybill/src/hub/hub.ts";
import { FaultProxy } from "./fault-proxy.ts";

export type KillableHubInit = {
  /** Each incarnation gets a folder in it. */
  readonly dataDir: string;
  readonly storeUrl: string;
  readonly credentials: S3Credentials;
  /** Tells rooms of several hubs on one store apart. */
  readonly bucket: string;
  readonly leaseMs: number;
};

export class KillableHub implements AsyncDisposable {
  readonly #init: KillableHubInit;
  #incarnation = 0;
  #running:
    | { readonly hub: Hub; readonly storePath: FaultProxy; readonly port: number }
    | undefined;
  readonly #dead: Promise<unknown>[] = [];

  constructor(init: KillableHubInit) {
    this.#init = init;
  }

  /** Where it listens; undefined while it is dead. */
  get port(): number | undefined {
    return this.#running?.port;
  }

  async start(): Promise<void> {
    const { dataDir, storeUrl, credentials, bucket, leaseMs } = this.#init;
    this.#incarnation += 1;
    const storePort = Number(new URL(storeUrl).port);
    const storePath = await new FaultProxy(() => storePort).start();
    const hub = createHub({
      dataDir: `${dataDir}/${this.#incarnation}`,
      port: 0,
      secret: "a secret that all incarnations of this hub share",
      storage: {
        kind: "external",
        endpoint: storePath.url,
        region: "us-east-1",
        credentials,
        equalParts: false,
      },
      s3PublicEndpoint: storeUrl,
      uploadsBucket: `${bucket}-uploads`,
      roomsBucket: bucket,
      leaseMs,
    });
    const { url } = await hub.start();
    this.#running = { hub, storePath, port: Number(new URL(url).port) };
  }

  /** Its peers' connections are the caller's to reset. */
  kill(): void {
    const running = this.#running;
    this.#running = undefined;
    if (running === undefined) return;
    running.storePath.cut();
    // Frees its timers and sockets; it cannot do anything any more.
    this.#dead.push(running.hub.stop().catch(() => undefined));
    this.#dead.push(running.storePath[Symbol.asyncDispose]());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.hub.stop();
    await running?.storePath[Symbol.asyncDispose]();
    await Promise.allSettled(this.#dead);
  }
}

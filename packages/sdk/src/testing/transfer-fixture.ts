// A hub double, a folder for trees, and the calls that tests of transfers make of them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type PullOptions,
  type PullResult,
  type PushOptions,
  type PushResult,
  pullArtifact,
  pushArtifact,
} from "../client/index.ts";
import { RoomId, decodeValue } from "../protocol/index.ts";
import { HubDouble } from "./hub-double.ts";
import { digestsOf, writeTree } from "./sample-trees.ts";
import type { StoreFault } from "./store-double.ts";

const room = decodeValue(RoomId, "lab", "room");

export class TransferFixture {
  readonly base: string;
  readonly hub: HubDouble;

  private constructor(base: string, hub: HubDouble) {
    this.base = base;
    this.hub = hub;
  }

  static async open(): Promise<TransferFixture> {
    const base = mkdtempSync(join(tmpdir(), "waybill-transfer-"));
    return new TransferFixture(base, await new HubDouble(join(base, "hub")).start());
  }

  async close(): Promise<void> {
    await this.hub.stop();
    rmSync(this.base, { recursive: true, force: true });
  }

  /** Writes files below a folder of this name and gives its path. */
  tree(name: string, files: Readonly<Record<string, Uint8Array | string>>): string {
    return writeTree(join(this.base, name), files);
  }

  push(path: string, more: Partial<PushOptions> = {}): Promise<PushResult> {
    return pushArtifact(this.hub.client(), { room, path, name: "data", ...more });
  }

  /** Pulls what was pushed last into a folder of this name. */
  pull(folder: string, more: Partial<PullOptions> = {}): Promise<PullResult> {
    const dir = join(this.base, folder);
    return pullArtifact(this.hub.client(), { room, ref: "data", dir, ...more });
  }

  /** Digests of every file below a folder of this name. */
  out(folder: string): Record<string, string> {
    return digestsOf(join(this.base, folder));
  }

  /** Applies faults to the first requests of a method, one each. */
  faults(method: "GET" | "PUT", ...list: (StoreFault | undefined)[]): void {
    const queue = [...list];
    this.hub.store.fault = (request) => (request.method === method ? queue.shift() : undefined);
  }
}

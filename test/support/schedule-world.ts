// A hub, two worker daemons, a viewer and one job, with a path that can fail before each of them. The hub and the viewer live in
// this process, the daemons are real ones (they are killed by SIGKILL), and so are the trainers.
import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pullArtifact, watchJob } from "@waybill/sdk/client";
import {
  HubClient,
  type SignalingSession,
  createLinkKeys,
  createSession,
  generateIdentityKey,
  loadIdentity,
} from "@waybill/sdk/hub-client";
import {
  type JobDoc,
  type JobEvent,
  type JobId,
  JobSpec,
  type Registry,
  RoomId,
  cryptoRandom,
  decodeValue,
  isTerminal,
  newJobId,
  randomText,
} from "@waybill/sdk/protocol";
import { type PeerLinks, createPeerLinks } from "@waybill/sdk/swarm";
import { encodeWorkerKey } from "../../packages/waybill/src/cli/credentials.ts";
import { FaultProxy } from "./fault-proxy.ts";
import { KillableHub, type KillableHubInit } from "./killable-hub.ts";
import { killBelow } from "./processes.ts";
import { randomOf } from "./random.ts";
import type { Fault, Place, Schedule } from "./schedule.ts";
import { WaybillProcess } from "./waybill-process.ts";

const ROOM = decodeValue(RoomId, "lab", "room");
/** Metrics of a whole run. */
export const STEPS = 40;
/** Largest delay of a slow connection, each way. */
const SLOW_MS = 80;

/** Numbers its lines and says who it is, so that whoever watches knows whether anything is missing. */
const TRAINER = `echo "pid $$"
n=0
while [ $n -lt ${STEPS} ]; do n=$((n+1)); echo "{\\"n\\":$n}"; sleep 0.05; done
echo $$ >"$WAYBILL_OUTPUT/pid"`;

export type Ended = {
  /** Everything the viewer was handed, across its own restarts. */
  readonly seen: readonly JobEvent[];
  readonly stored: readonly JobEvent[];
  readonly doc: JobDoc;
  readonly registry: Registry;
  /** What the published model holds: the pid of the trainer that made it. */
  readonly model: string;
};

type WorkerName = Exclude<Place, "hub" | "viewer">;
type Paths = Readonly<Record<Exclude<Place, "hub">, FaultProxy>>;
type Viewer = { readonly abort: AbortController; readonly over: Promise<void> };

export class ScheduleWorld implements AsyncDisposable {
  readonly #dir: string;
  readonly #hub: KillableHub;
  readonly #paths: Paths;
  readonly #random: () => number;
  readonly #workers = new Map<string, WaybillProcess>();
  readonly #pods: boolean;
  /** Where the workers of now keep their data; a new pod has a disk of its own. */
  readonly #folders = new Map<WorkerName, string>();
  readonly #seen: JobEvent[] = [];
  #owner!: HubClient;
  #viewer: Viewer | undefined;
  #key = "";
  #job!: JobId;
  #ended = false;

  private constructor(dir: string, hub: KillableHub, paths: Paths, { seed, pods }: Schedule) {
    this.#pods = pods;
    this.#dir = dir;
    this.#hub = hub;
    this.#paths = paths;
    this.#random = randomOf(seed);
  }

  /** Starts everything; resolves when the viewer has the job's first metric. */
  static async open(init: KillableHubInit, schedule: Schedule): Promise<ScheduleWorld> {
    const hub = new KillableHub(init);
    await hub.start();
    const open = () => new FaultProxy(() => hub.port).start();
    const paths = { viewer: await open(), "worker a": await open(), "worker b": await open() };
    const world = new ScheduleWorld(init.dataDir, hub, paths, schedule);
    try {
      await world.#begin();
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Lets everything go wrong as scheduled, and right in the end. */
  async suffer({ faults }: Schedule): Promise<void> {
    const began = Date.now();
    await Promise.all(
      faults.map(async (fault) => {
        await sleep(Math.max(0, began + fault.atMs - Date.now()));
        await this.#fail(fault);
      }),
    );
    for (const one of Object.values(this.#paths)) {
      one.slow(() => 0);
      one.heal();
    }
  }

  /** Waits for the job's end and reads what is left of it. Throws after `limitMs`. */
  async end(limitMs: number): Promise<Ended> {
    const params = { room: ROOM, job: this.#job };
    const endMs = Date.now() + limitMs;
    let doc = await this.#owner.call("showJob", { params });
    while (!this.#ended || !isTerminal(doc.state)) {
      if (Date.now() > endMs) {
        const last = JSON.stringify(this.#seen.at(-1));
        throw new Error(
          `not over: ${doc.state}, attempt ${doc.attempt}; the viewer's last: ${last}`,
        );
      }
      await sleep(20);
      doc = await this.#owner.call("showJob", { params });
    }
    await this.#viewer?.over;
    const stored: JobEvent[] = [];
    for (let more = true; more;) {
      const query = { since: String(stored.at(-1)?.seq ?? 0) };
      const page = await this.#owner.call("readEvents", { params, query });
      stored.push(...page.events);
      ({ more } = page);
    }
    const registry = await this.#owner.call("readRegistry", { params: { room: ROOM } });
    return { seen: this.#seen, stored, doc, registry, model: await this.#model(doc) };
  }

  async #model(doc: JobDoc): Promise<string> {
    if (doc.model === undefined) return "";
    const { model } = await this.#owner.call("showModel", {
      params: { room: ROOM, model: doc.model },
    });
    const dir = path.join(this.#dir, "pulled");
    await pullArtifact(this.#owner, { room: ROOM, ref: model.artifact, dir });
    return (await readFile(path.join(dir, "pid"), "utf8")).trim();
  }

  async #begin(): Promise<void> {
    const url = `http://127.0.0.1:${this.#hub.port ?? 0}`;
    const anyone = new HubClient({ url });
    const { token } = await anyone.call("createRoom", { body: { name: ROOM } });
    const identity = await loadIdentity(await generateIdentityKey());
    // The owner looks on from a path of its own, which is slow to despair.
    this.#owner = new HubClient({
      url: this.#paths.viewer.url,
      credential: { token, identity },
      retryForMs: 60_000,
    });
    const key = await generateIdentityKey();
    const made = await this.#owner.call("createWorkerKey", {
      params: { room: ROOM },
      body: { publicKey: key.x, label: "workers" },
    });
    this.#key = encodeWorkerKey(key, made.token);
    for (const name of ["worker a", "worker b"] as const) {
      this.#startWorker(name);
      await this.#workers.get(name)?.until((line) => line["type"] === "ready");
      this.#workers.get(name)?.drain();
    }
    this.#job = newJobId(Date.now(), cryptoRandom);
    const spec = decodeValue(
      JobSpec,
      { command: ["/bin/sh", "-c", TRAINER], alias: "it", maxAttempts: 100 },
      "the job",
    );
    await this.#owner.call("submitJob", {
      params: { room: ROOM },
      body: { job: this.#job, spec, submittedBy: "test" },
    });
    this.#watch();
    while (!this.#seen.some(({ type }) => type === "metric")) await sleep(5);
  }

  #startWorker(name: WorkerName): void {
    const kind = this.#pods ? "ephemeral" : "desktop";
    const before = this.#pods ? undefined : this.#folders.get(name);
    const folder = before ?? path.join(this.#dir, randomText(8, cryptoRandom));
    this.#folders.set(name, folder);
    const worker = new WaybillProcess(
      ["worker", "--name", name.replace(" ", "-"), "--kind", kind],
      {
        WAYBILL_HUB: this.#paths[name].url,
        WAYBILL_KEY: this.#key,
        WAYBILL_DATA: folder,
        WAYBILL_WEBRTC: "0",
      },
      { name },
    );
    this.#workers.set(name, worker);
  }

  #watch(): void {
    const abort = new AbortController();
    const { signal } = abort;
    const follow = async () => {
      const live = await openLive(this.#owner);
      try {
        const sinceSeq = this.#seen.at(-1)?.seq ?? 0;
        const options = { room: ROOM, job: this.#job, sinceSeq, signal };
        for await (const event of watchJob({ hub: this.#owner, ...live }, options)) {
          this.#seen.push(event);
        }
        this.#ended = true;
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        await live.links.stop();
        await live.session.stop();
      }
    };
    const over = follow();
    // Looked at when the run ends.
    over.catch(() => (this.#ended = true));
    this.#viewer = { abort, over };
  }

  async #fail({ on, what, forMs }: Fault): Promise<void> {
    if (on === "hub") {
      this.#hub.kill();
      for (const one of Object.values(this.#paths)) one.reset();
      await sleep(forMs);
      if (this.#hub.port === undefined) await this.#hub.start();
      return;
    }
    if (what === "kill") return this.#kill(on, forMs);
    const one = this.#paths[on];
    if (what === "cut") one.cut();
    if (what === "silence") one.silence();
    if (what === "slow") {
      one.slow(() => this.#random() * SLOW_MS);
      one.reset();
    }
    await sleep(forMs);
    one.slow(() => 0);
    one.heal();
  }

  async #kill(on: Exclude<Place, "hub">, forMs: number): Promise<void> {
    if (on === "viewer") {
      const viewer = this.#viewer;
      viewer?.abort.abort();
      await sleep(forMs);
      // Of two kills at once the later one has started another.
      if (!this.#ended && this.#viewer === viewer) this.#watch();
      return;
    }
    const worker = this.#workers.get(on);
    await worker?.kill();
    if (this.#pods) await killBelow(this.#folders.get(on) ?? this.#dir);
    await sleep(forMs);
    // Of two kills at once the later one has started another.
    if (this.#workers.get(on) !== worker) return;
    this.#startWorker(on);
    this.#workers.get(on)?.drain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#viewer?.abort.abort();
    await this.#viewer?.over.catch(() => undefined);
    for (const worker of this.#workers.values()) await worker.kill();
    await this.#hub[Symbol.asyncDispose]();
    for (const one of Object.values(this.#paths)) await one[Symbol.asyncDispose]();
    await rm(this.#dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function openLive(hub: HubClient): Promise<{ session: SignalingSession; links: PeerLinks }> {
  if (hub.credential === undefined) throw new Error("the viewer has no token");
  const keys = await createLinkKeys(hub.credential.identity);
  const { agreement } = keys;
  const instance = randomText(8, cryptoRandom);
  const session = createSession({ hub, room: ROOM, name: "viewer", instance, agreement });
  const links = createPeerLinks({ signaling: session, keys, RTCPeerConnection: undefined });
  session.start();
  return { session, links };
}

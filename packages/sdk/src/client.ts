// createClient(): one object for a user of the SDK. It composes the parts below it and decides nothing.
import { rollbackAlias } from "./client/alias-rollback.ts";
import { type PullOptions, type PullResult, pullArtifact } from "./client/pull.ts";
import { type PushOptions, type PushResult, pushArtifact } from "./client/push.ts";
import { type ReceivedCommand, commandJob } from "./client/command-job.ts";
import type { WatchItem } from "./client/event-merge.ts";
import { type ModelListQuery, listModels } from "./client/model-list.ts";
import { SeenJobs } from "./client/seen-jobs.ts";
import { watchJob } from "./client/watch-job.ts";
import type { WatchOptions } from "./client/watch-options.ts";
import { HubClient, type HubClientInit } from "./hub-client/http.ts";
import { generateIdentityKey, loadIdentity, type IdentityKey } from "./hub-client/identity.ts";
import { createLinkKeys, type LinkKeys } from "./hub-client/link-keys.ts";
import { createSession } from "./hub-client/session.ts";
import {
  Adjustment,
  Alias,
  type AliasMoved,
  AliasState,
  type CommandName,
  type IcePolicy,
  type JobDoc,
  type JobEvent,
  JobId,
  JobSpec,
  type ModelEntry,
  ModelRef,
  type ModelRow,
  RoomId,
  cryptoRandom,
  decodeValue,
  newJobId,
  randomText,
} from "./protocol/index.ts";
import { createPeerLinks } from "./swarm/peer-links.ts";
import type { PeerConnectionConstructor } from "./swarm/rtc-types.ts";

export type ClientInit = Pick<HubClientInit, "retryForMs" | "fetch"> & {
  /** The hub's address, such as `http://127.0.0.1:8700`. */
  readonly hub: string;
  readonly room: string;
  /** A token of the room; a bearer token (the owner's) needs no key. */
  readonly token: string;
  /** The key the token is bound to; a fresh one for bearer tokens when absent. */
  readonly identityKey?: IdentityKey;
  /** Shown to the others in the room. Default `sdk`. */
  readonly name?: string;
  /** For direct channels to workers: the browser's own by default; in Node without one the hub relays. */
  readonly RTCPeerConnection?: PeerConnectionConstructor;
  /** `relay`: direct channels through TURN servers only, whatever the room allows. */
  readonly icePolicy?: IcePolicy;
};

type InRoom<T> = Omit<T, "room">;

/** Where to begin (0: with the first event), when to end, and who hears of changes of path. */
export type ClientWatchOptions = Pick<WatchOptions, "signal" | "onPath" | "onSample"> & {
  readonly sinceSeq?: number;
};

export type AliasOptions = {
  /** An id, or `none`: it must not exist yet. */
  readonly expect?: string;
  /** Such as `val_loss < current * 0.98`. */
  readonly if?: string;
  /** Kept in the alias's history for ever; protected aliases need one, or a condition. */
  readonly why?: string;
  readonly signal?: AbortSignal;
};

/** What a room's member does from code. Every method throws `WaybillError`, or `AbortError` when its signal is aborted. */
export type Client = AsyncDisposable & {
  readonly hub: HubClient;
  /** Uploads a file or folder (Node). */
  push(options: InRoom<PushOptions>): Promise<PushResult>;
  /** Downloads an artifact into a folder, verified (Node). */
  pull(options: InRoom<PullOptions>): Promise<PullResult>;
  /** Submits a job; the spec is checked here before anything is sent. */
  submit(spec: unknown): Promise<JobDoc>;
  /** Every event of a job, each once and in order, until it ends. */
  watch(
    job: string,
    options?: ClientWatchOptions & { readonly latest?: false },
  ): AsyncIterable<JobEvent>;
  /** For dashboards: while this viewer is too slow, the newest only, with `skipped` items for what was left out. */
  watch(
    job: string,
    options: ClientWatchOptions & { readonly latest: boolean },
  ): AsyncIterable<WatchItem>;
  /**
   * Commands a job; resolves when the worker has received it, and `applied()` of the result when it has had its effect. While
   * the job is watched by this client over a direct channel, the command takes that, too.
   */
  command(
    job: string,
    name: CommandName,
    options?: { readonly values?: Adjustment; readonly signal?: AbortSignal },
  ): Promise<ReceivedCommand>;
  /** A model by id, alias or `latest-{type}`. */
  model(ref: string): Promise<ModelEntry>;
  /** Models that meet conditions, with all their names; fetched page by page while they are read. */
  models(
    query?: ModelListQuery,
    options?: { readonly signal?: AbortSignal },
  ): AsyncIterable<ModelRow>;
  /** Points an alias at a model: only if it points there now (`expect`), only if a condition holds (`if`). */
  setAlias(alias: string, model: string, options?: AliasOptions): Promise<AliasMoved>;
  /** Moves an alias back to where it pointed before its last move. */
  rollbackAlias(alias: string, options?: Pick<AliasOptions, "why" | "signal">): Promise<AliasMoved>;
  /** Ends the live connection, if one was opened. Idempotent. */
  close(): Promise<void>;
};

/**
 * Makes a client of one room; nothing is sent before a method is called.
 *
 * @example
 * await using client = await createClient({ hub: "http://127.0.0.1:8700", room: "lab", token });
 * const { artifact } = await client.push({ path: "./digits", name: "digits" });
 * const { job } = await client.submit({ dataset: artifact, command: ["python3", "train.py"], alias: "prod-v1" });
 * for await (const event of client.watch(job)) console.log(event);
 */
export async function createClient(init: ClientInit): Promise<Client> {
  const identity = await loadIdentity(init.identityKey ?? (await generateIdentityKey()));
  const room = decodeValue(RoomId, init.room, "room");
  const { token, name: by = "sdk" } = init;
  const hub = new HubClient({
    url: init.hub,
    credential: { token, identity },
    ...(init.retryForMs === undefined ? {} : { retryForMs: init.retryForMs }),
    ...(init.fetch === undefined ? {} : { fetch: init.fetch }),
  });
  const keys = await createLinkKeys(identity);
  const live = lazily(() => openLive(hub, room, keys, init));
  const seen = new SeenJobs();
  const jobId = (text: string) => decodeValue(JobId, text, "job");
  const close = async () => {
    const opened = live.opened();
    await opened?.links.stop();
    await opened?.session.stop();
  };
  return {
    hub,
    push: (options) => pushArtifact(hub, { ...options, room }),
    pull: (options) => {
      // Without direct channels there are no bytes to be had from peers.
      const peers = () => (connectionOf(init) === undefined ? undefined : live.get().links);
      return pullArtifact(hub, { peers, ...options, room });
    },
    submit: async (spec) => {
      const job = newJobId(Date.now(), cryptoRandom);
      const body = {
        job,
        spec: decodeValue(JobSpec, spec, "the job"),
        submittedBy: by,
      };
      return hub.call("submitJob", { params: { room }, body });
    },
    watch: (job: string, { sinceSeq = 0, ...options }: AnyWatchOptions = {}) => {
      const id = jobId(job);
      const items = watchJob({ hub, ...live.get() }, { ...options, room, job: id, sinceSeq });
      // The overload that was called says whether `skipped` items can come.
      return seen.noting(id, items) as AsyncIterable<JobEvent>;
    },
    command: async (job, name, { values, signal } = {}) => {
      const id = jobId(job);
      const links = live.opened()?.links;
      return commandJob(
        {
          hub,
          seen: seen.of(id),
          linkTo: links && ((peer) => links.linkTo(peer)),
          watch: (sinceSeq, until) =>
            watchJob({ hub, ...live.get() }, { room, job: id, sinceSeq, signal: until }),
        },
        {
          room,
          job: id,
          id: randomText(12, cryptoRandom),
          name,
          values: values === undefined ? undefined : decodeValue(Adjustment, values, "values"),
          by,
          signal,
        },
      );
    },
    model: async (ref) => {
      const params = { room, model: decodeValue(ModelRef, ref, "model") };
      return (await hub.call("showModel", { params })).model;
    },
    models: (query, options) => listModels(hub, room, query, options),
    setAlias: async (alias, model, { expect, signal, ...rest } = {}) => {
      const body = {
        model: decodeValue(ModelRef, model, "model"),
        ...(expect === undefined ? {} : { expect: decodeValue(AliasState, expect, "expect") }),
        ...rest,
        by,
      };
      const params = { room, alias: decodeValue(Alias, alias, "alias") };
      return hub.call("setAlias", { params, body }, { signal });
    },
    rollbackAlias: async (alias, options) =>
      rollbackAlias(hub, { ...options, room, alias: decodeValue(Alias, alias, "alias"), by }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

type AnyWatchOptions = ClientWatchOptions & { readonly latest?: boolean };

function openLive(hub: HubClient, room: RoomId, keys: LinkKeys, init: ClientInit) {
  const instance = randomText(8, cryptoRandom);
  const { agreement } = keys;
  const session = createSession({ hub, room, name: init.name ?? "sdk", instance, agreement });
  const links = createPeerLinks({
    signaling: session,
    keys,
    RTCPeerConnection: connectionOf(init),
    iceServers: () => hub.call("iceServers", { params: { room } }),
    ...(init.icePolicy === undefined ? {} : { icePolicy: init.icePolicy }),
  });
  session.start();
  return { session, links };
}

/** The global of browsers is the default; Node has none. */
function connectionOf({ RTCPeerConnection }: ClientInit): PeerConnectionConstructor | undefined {
  const browsersOwn = globalThis as { RTCPeerConnection?: PeerConnectionConstructor };
  return RTCPeerConnection ?? browsersOwn.RTCPeerConnection;
}

function lazily<T>(make: () => T): { get(): T; opened(): T | undefined } {
  let made: T | undefined;
  return { get: () => (made ??= make()), opened: () => made };
}

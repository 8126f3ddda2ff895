/**
 * The store in a thread of its own, so that receiving and sending bytes at full speed does not hold up whoever shares the
 * process: a hub answers in milliseconds beside a busy store, in a tenth of a second inside its loop.
 *
 * ```
 * hub's thread   createThreadedStore ── init ──▶ store's thread   createStore, listens
 *                            ◀── started │ failed │ log ──        ◀── stop
 * ```
 *
 * This file is both ends: loaded as a worker of itself it runs the store.
 */
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { type ErrorCode, WaybillError, messageOf } from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { StoreLogEntry } from "./core.ts";
import { createStore, type Store, type StoreInit } from "./store.ts";

/** What can be told to another thread. */
export type ThreadedStoreInit = Omit<StoreInit, "clock" | "log"> & Pick<StoreInit, "log">;

/** A store that is started and stopped from here and used over HTTP only. */
export type ThreadedStore = Pick<Store, "start" | "stop"> & AsyncDisposable;

type Failure = {
  readonly code: ErrorCode | undefined;
  readonly message: string;
  readonly hint: string | undefined;
  readonly cause: string | undefined;
};

type FromStore =
  | { readonly type: "started"; readonly endpoint: string }
  | { readonly type: "failed"; readonly failure: Failure }
  | { readonly type: "log"; readonly entry: StoreLogEntry };

const STOP = "stop";
/** Marks the thread as ours: others may load this file in threads of theirs. */
const PURPOSE = "waybill-store";
const ThreadData = v.object({ purpose: v.literal(PURPOSE), init: v.unknown() });

/** Makes a store in another thread; nothing happens before `start`. Errors are those of `createStore`. */
export function createThreadedStore(init: ThreadedStoreInit): ThreadedStore {
  let running: Promise<Running> | undefined;
  let stopped: Promise<void> | undefined;
  const stop = async () => {
    const store = await running?.catch(() => undefined);
    await store?.stop();
  };
  return {
    async start() {
      running ??= startThread(init);
      return { endpoint: (await running).endpoint };
    },
    stop: () => (stopped ??= stop()),
    [Symbol.asyncDispose]() {
      return this.stop();
    },
  };
}

type Running = { readonly endpoint: string; readonly stop: () => Promise<void> };

async function startThread({ log, ...init }: ThreadedStoreInit): Promise<Running> {
  const thread = new Worker(new URL(import.meta.url), {
    workerData: { purpose: PURPOSE, init },
    // From sources the thread must find the other packages' sources, too.
    ...(import.meta.url.endsWith(".ts") ? { execArgv: ["--conditions=@waybill/source"] } : {}),
  });
  const { promise: exited, resolve: noteExit } = Promise.withResolvers<void>();
  const { promise: started, resolve, reject } = Promise.withResolvers<string>();
  thread.on("exit", () => {
    noteExit();
    reject(new WaybillError("local_io", "The object store's thread has ended."));
  });
  // After the start this is thrown: a hub without its store must not go on, as with any error nobody caught.
  let isStarting = true;
  thread.on("error", (error) => {
    if (!isStarting) throw error;
    reject(error);
  });
  thread.on("message", (message: FromStore) => {
    if (message.type === "log") log?.(message.entry);
    else if (message.type === "started") resolve(message.endpoint);
    else reject(errorOf(message.failure));
  });
  try {
    const endpoint = await started;
    return {
      endpoint,
      async stop() {
        thread.postMessage(STOP, []);
        await exited;
      },
    };
  } catch (error) {
    await thread.terminate();
    throw error;
  } finally {
    isStarting = false;
  }
}

function errorOf({ code, message, hint, cause }: Failure): Error {
  if (code === undefined) return new Error(message, { cause });
  return new WaybillError(code, message, {
    ...(hint === undefined ? {} : { hint }),
    ...(cause === undefined ? {} : { cause: new Error(cause) }),
  });
}

function failureOf(error: unknown): Failure {
  const known = error instanceof WaybillError ? error : undefined;
  const cause = error instanceof Error ? error.cause : undefined;
  return {
    code: known?.code,
    message: messageOf(error),
    hint: known?.hint,
    cause: cause === undefined ? undefined : messageOf(cause),
  };
}

/** The store's end. */
async function serve(port: NonNullable<typeof parentPort>, init: StoreInit): Promise<void> {
  const tell = (message: FromStore) => port.postMessage(message);
  const store = createStore({
    ...init,
    log: ({ cause, ...entry }) =>
      // Causes are told as text: not everything can be told to another thread.
      tell({
        type: "log",
        entry: cause === undefined ? entry : { ...entry, cause: messageOf(cause) },
      }),
  });
  port.on("message", (message: unknown) => {
    if (message === STOP) void store.stop().finally(() => port.close());
  });
  try {
    tell({ type: "started", ...(await store.start()) });
  } catch (error) {
    tell({ type: "failed", failure: failureOf(error) });
    port.close();
  }
}

if (!isMainThread && parentPort !== null && v.is(ThreadData, workerData)) {
  // Made by `startThread` of this very file.
  await serve(parentPort, workerData.init as StoreInit);
}

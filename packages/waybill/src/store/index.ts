/** The embedded S3-compatible object store. Start reading at `store.ts`. */
export { createStore, type ExpireOptions, type Store, type StoreInit } from "./store.ts";
export {
  createThreadedStore,
  type ThreadedStore,
  type ThreadedStoreInit,
} from "./threaded-store.ts";
export type { Credential } from "./auth/authenticate.ts";
export type { StoreLogEntry } from "./core.ts";
export type { SweepReport } from "./lifecycle/sweeper.ts";

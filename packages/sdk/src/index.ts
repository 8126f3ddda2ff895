// @waybill/sdk: push, pull, watch and train from Node and browsers. Start at `createClient` (client.ts); then
//
//   protocol/    what both ends agree on: ids, messages, the route table, limits, error codes
//   artifact/    a tree of files becomes a manifest of shards, each known by its hash
//   transfer/    shards travel: pure state machines, a scheduler over sources, runners, journals
//   http/        ranged GETs, checked; any web server as a source
//   s3/          the object store as source and sink, by URLs the hub signs
//   hub-client/  typed HTTP calls with proofs of the caller's key; the signaling session
//   swarm/       control links between peers (WebRTC, or relayed); the feed of a job's events
//   registry/    pure edits of a room's registry and the compare-and-swap loop around them
//   receipt/     signed receipts of transfers, and checks of a folder against one
//   client/      push, pull and watch, composed of the above
//
// A byte enters in transfer/upload-run, is verified in transfer/download-runner against the manifest, and
// lands under its name only when every shard of its file matched.
export {
  createClient,
  type AliasOptions,
  type Client,
  type ClientInit,
  type ClientWatchOptions,
} from "./client.ts";
export {
  pushArtifact,
  pullArtifact,
  watchJob,
  type ModelListQuery,
  type PullOptions,
  type PullProgress,
  type PullResult,
  type Preference,
  type SourceReport,
  type PushOptions,
  type PushResult,
  type UploadProgress,
  type WatchOptions,
  type WatchPath,
} from "./client/index.ts";
export {
  HubClient,
  generateIdentityKey,
  loadIdentity,
  type Credential,
  type Identity,
  type IdentityKey,
} from "./hub-client/index.ts";
export {
  ERROR_CODES,
  WaybillError,
  type ErrorCode,
  type JobEvent,
  type JobSpec,
  type ModelEntry,
  type ModelRow,
} from "./protocol/index.ts";

// Doubles for tests: a hub and an object store over real HTTP, with faults on demand. Never imported by
// shipped code.
export { HubDouble } from "./hub-double.ts";
export { StoreDouble, type StoreFault, type StoreRequest } from "./store-double.ts";
export { digestsOf, noise, writeTree } from "./sample-trees.ts";
export { TransferFixture } from "./transfer-fixture.ts";
export { RangeServer, type RangeFault, type RangeServerRequest } from "./range-server.ts";

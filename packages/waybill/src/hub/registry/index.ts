// The hub's side of the model registry.
export {
  createRegistryArea,
  type RegistryArea,
  type RegistryAreaDeps,
  type RegistryRoute,
} from "./registry-area.ts";
export { withFindableArtifacts } from "./findable.ts";
export { createRetentionArea } from "./retention-area.ts";
export { readRegistry, registryKey } from "./room-registry.ts";
export { careHandlers } from "./care-handlers.ts";
export { keepJournal } from "./journal-keeper.ts";

// The hub's side of the model registry.
export {
  createRegistryArea,
  type RegistryArea,
  type RegistryAreaDeps,
  type RegistryRoute,
} from "./registry-area.ts";
export { readRegistry, registryKey } from "./room-registry.ts";

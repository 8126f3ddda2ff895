// Browsers know their proxies themselves.

/** Nothing is to be done. */
export function useProxiesOfEnvironment(): boolean {
  return true;
}

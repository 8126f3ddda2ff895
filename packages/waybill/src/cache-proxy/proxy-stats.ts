// What a regional cache has done since it began, for its operator and for `/v1/stats`.
export type ProxyStats = {
  /** Requests for what was whole in the cache. */
  readonly hits: number;
  /** Requests that joined a fill others had begun. */
  readonly shared: number;
  /** Requests that began one. */
  readonly misses: number;
  readonly fills: number;
  readonly failedFills: number;
  /** Over the wire, those of no use included. */
  readonly originBytes: number;
  readonly servedBytes: number;
  /** Fills under way. */
  readonly filling: number;
};

/** Counts what cannot be asked for. */
export class ProxyCounters {
  readonly asked = { hit: 0, shared: 0, miss: 0 };
  fills = 0;
  failedFills = 0;
  originBytes = 0;
}

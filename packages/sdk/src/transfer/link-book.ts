// What a process knows of its links, by host: the same path serves many requests, transfers and directions.
import {
  FRESH_LINK,
  type LinkAdvice,
  type LinkFact,
  type LinkHealth,
  adviceFor,
  learnLink,
} from "./link-health.ts";

/** Hosts remembered; a process talks to a handful. */
const MAX_HOSTS = 256;

/** Link health of hosts (`name:port`). One per transport: share it between the transfers of a process. */
export class LinkBook {
  readonly #links = new Map<string, LinkHealth>();
  readonly #now: () => number;

  /** `now` gives monotonic milliseconds, the clock of the connections' facts. */
  constructor(now: () => number = performance.now.bind(performance)) {
    this.#now = now;
  }

  learn(host: string, fact: LinkFact): void {
    const link = learnLink(this.#links.get(host) ?? FRESH_LINK, fact, this.#now());
    // The one that was not used for longest goes first.
    this.#links.delete(host);
    this.#links.set(host, link);
    const [oldest] = this.#links.keys();
    if (this.#links.size > MAX_HOSTS && oldest !== undefined) this.#links.delete(oldest);
  }

  advice(host: string): LinkAdvice {
    const link = this.#links.get(host);
    return link === undefined ? {} : adviceFor(link, this.#now());
  }
}

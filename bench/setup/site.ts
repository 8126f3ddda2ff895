// A server with a hub and a store, and a client across an emulated link, for one measurement.
import { type LinkInit, NetLab } from "../../test/support/netlab.ts";
import { PEER_BUCKET } from "../peers/commands.ts";
import { type BenchHub, startBenchHub } from "./hub.ts";
import type { StoreKind } from "./options.ts";
import type { Scope } from "./scope.ts";
import { type Host, createBucket, startStore } from "./store.ts";

export type Site = {
  readonly lab: NetLab;
  readonly client: Host;
  readonly server: Host;
  readonly hub: BenchHub;
};

export function hostOf(lab: NetLab, name: string): Host {
  return { address: lab.address(name), command: (argv) => lab.command(name, argv) };
}

/** Opens the link and starts the servers behind it; `name` tells sites of one scope apart. */
export async function openSite(
  scope: Scope,
  init: {
    readonly link: Omit<LinkInit, "from" | "to">;
    readonly store: StoreKind;
    readonly name?: string;
    /** More links, such as mirrors'. */
    readonly more?: readonly LinkInit[];
  },
): Promise<Site> {
  const lab = scope.use(
    await NetLab.open({
      links: [{ ...init.link, from: "client", to: "server" }, ...(init.more ?? [])],
    }),
  );
  const [client, server] = [hostOf(lab, "client"), hostOf(lab, "server")];
  const name = init.name ?? "site";
  const store =
    init.store === "embedded" ? undefined : await startStore(scope, init.store, server, name);
  const hub = await startBenchHub(scope, {
    name,
    host: server,
    ...(store === undefined ? {} : { store }),
  });
  await createBucket(hub.store, PEER_BUCKET, server);
  return { lab, client, server, hub };
}

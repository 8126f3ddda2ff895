// docs/protocol/data-server.md §2: who is named to a reader, in which order, and what models say of who has them.
import type { ArtifactId, ModelEntry, PeerId, Serving } from "@waybill/sdk/protocol";
import { emptyRegistry } from "@waybill/sdk/registry";
import { describe, expect, it } from "vitest";
import type { Handlers } from "../http/handler.ts";
import { LAB, callOf, callerOf } from "../jobs/call.fixture.ts";
import type { ConnectedPeer } from "../signaling/router.ts";
import { withAvailability } from "./availability.ts";
import { createHoldersArea } from "./holders-area.ts";
import { holdersOf } from "./holders.ts";

const TREE = "a".repeat(64) as ArtifactId;
const OTHER = "b".repeat(64) as ArtifactId;
const viewer = callerOf("viewer");

type Over = {
  readonly cached?: readonly ArtifactId[];
  readonly host?: string;
  readonly fills?: true;
  readonly remote?: string;
  readonly serves?: false;
};

function peer(name: string, over: Over = {}): ConnectedPeer {
  const { cached, host = "10.9.9.9", remote = "203.0.113.9", fills } = over;
  const url = `http://${host.includes(":") ? `[${host}]` : host}:8780`;
  const serves: Serving = {
    addresses: [{ url, token: name.charCodeAt(0).toString(16).padStart(64, "0") }],
    ...(fills === undefined ? {} : { fills }),
  };
  const joinedAt = "2026-01-01T00:00:00.000Z";
  return {
    room: LAB,
    info: { peerId: `p_${name.padEnd(16, "x")}_w` as PeerId, name, role: "worker", joinedAt },
    caller: callerOf("worker", name),
    remote,
    ...(over.serves === false ? {} : { serves }),
    ...(cached === undefined
      ? {}
      : { worker: { capabilities: {} as never, connectedAt: joinedAt, cached } }),
  };
}

const names = (peers: readonly ConnectedPeer[], remote = "198.51.100.1", without?: PeerId) =>
  holdersOf(peers, TREE, { remote, without }).map(({ name }) => name);

describe("holders of an artifact", () => {
  it("are the peers that serve it, and those that fill", () => {
    const peers = [
      peer("has", { cached: [OTHER, TREE] }),
      peer("lacks", { cached: [OTHER] }),
      peer("silent", { cached: [TREE], serves: false }),
      peer("member"),
      peer("fills", { fills: true }),
    ];
    expect(names(peers)).toEqual(["has", "fills"]);
    const [has] = peers;
    expect(names(peers, "198.51.100.1", has?.info.peerId)).toEqual(["fills"]);
  });

  it("are named nearest first, and of those equally near who has it before who would fetch it", () => {
    const cached = [TREE];
    const peers = [
      peer("afar", { cached, host: "192.0.2.7", remote: "192.0.2.7" }),
      peer("fills", { fills: true, host: "10.1.2.9" }),
      peer("lan", { cached, host: "10.1.2.8" }),
      peer("host", { cached, host: "172.17.0.2", remote: "::ffff:10.1.2.3" }),
      peer("six", { cached, host: "2001:db8::1" }),
    ];
    expect(names(peers, "10.1.2.3")).toEqual(["host", "lan", "fills", "afar", "six"]);
    expect(names(peers, "2001:db8::2")[0]).toBe("six");
    const near = holdersOf(peers, TREE, { remote: "10.1.2.3" }).filter((one) => one.near === true);
    expect(near.map(({ name }) => name)).toEqual(["host", "lan", "fills"]);
    expect(names(peers, "local")).toHaveLength(5);
  });

  it("are sixteen at most", () => {
    const many = Array.from({ length: 40 }, (_, at) => peer(`w${at}`, { cached: [TREE] }));
    expect(names([...many, peer("lan", { fills: true, host: "198.51.100.2" })])).toHaveLength(16);
    expect(names([...many, peer("lan", { fills: true, host: "198.51.100.2" })])[0]).toBe("lan");
  });

  it("are told with their addresses to whoever may read artifacts", async () => {
    const peers = [peer("has", { cached: [TREE] }), peer("fills", { fills: true })];
    const { handlers } = createHoldersArea({ peers: () => peers });
    const call = callOf<"showHolders">(viewer, { params: { artifact: TREE } });
    const { holders } = await handlers.showHolders(call);
    expect(holders).toEqual(
      peers.map(({ info, serves }) => ({ peer: info.peerId, name: info.name, ...serves })),
    );
  });
});

describe("models that a hub answers", () => {
  const entry = (artifact: ArtifactId) => ({
    id: artifact.slice(0, 8),
    artifact,
    availability: { in_s3: true, cached_on_workers: [] },
  });
  const models = { one: entry(TREE), two: entry(OTHER) } as unknown as Record<string, ModelEntry>;
  const stored = { ...emptyRegistry(LAB), models };
  const peers = [
    peer("serving", { cached: [TREE] }),
    peer("quiet", { cached: [TREE], serves: false }),
  ];
  const handlers = withAvailability<
    Handlers<"readRegistry" | "showModel" | "listModels" | "modelDetails">
  >(
    {
      readRegistry: async () => stored,
      modelDetails: async () => ({
        model: models["one"] as ModelEntry,
        aliases: [],
        protected_aliases: [],
        alias_history: [],
        children: [],
        part_of: [],
      }),
      listModels: async () => ({
        models: [{ model: models["one"] as ModelEntry, aliases: [] }],
        total: 1,
      }),
      showModel: async () => ({ model: models["one"] as ModelEntry, aliases: ["prod"] }),
    },
    () => peers,
  );

  it("name the workers that have them now, and whether those serve them", async () => {
    const there = [
      { worker_id: peers[0]?.info.peerId, can_serve_p2p: true },
      { worker_id: peers[1]?.info.peerId, can_serve_p2p: false },
    ];
    const registry = await handlers.readRegistry(callOf(viewer));
    expect(registry.models["one"]?.availability.cached_on_workers).toEqual(there);
    expect(registry.models["two"]?.availability.cached_on_workers).toEqual([]);
    const shown = await handlers.showModel(callOf(viewer, { params: { model: "prod" } }));
    expect(shown).toMatchObject({ aliases: ["prod"], model: { id: "aaaaaaaa" } });
    expect(shown.model.availability.cached_on_workers).toEqual(there);
    const details = await handlers.modelDetails(callOf(viewer, { params: { model: "prod" } }));
    expect(details.model.availability.cached_on_workers).toEqual(there);
    const listed = await handlers.listModels(callOf(viewer));
    expect(listed.models[0]?.model.availability.cached_on_workers).toEqual(there);
  });

  it("are stored without", () => {
    for (const model of Object.values(stored.models)) {
      expect(model.availability.cached_on_workers).toEqual([]);
    }
  });

  it("say nothing of tokens (I10)", async () => {
    const answers = JSON.stringify(await handlers.readRegistry(callOf(viewer)));
    for (const { serves } of peers) {
      for (const { token } of serves?.addresses ?? []) expect(answers).not.toContain(token);
    }
  });
});

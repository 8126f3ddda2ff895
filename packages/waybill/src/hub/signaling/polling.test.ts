// Long polling through a proxy that has something against WebSockets, to a hub with its real parts.
import {
  HubClient,
  type SessionInit,
  type SignalingSession,
  createSession,
} from "@waybill/sdk/hub-client";
import type { PeerId, RoomId } from "@waybill/sdk/protocol";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { newIdentity } from "../hub.fixture.ts";
import { createHub } from "../hub.ts";
import { FussyProxy } from "./fussy-proxy.fixture.ts";

const cleaners: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const clean of cleaners.splice(0).toReversed()) await clean();
});

const room = "lab" as RoomId;

async function start() {
  const dataDir = await mkdtemp(join(tmpdir(), "waybill-polling-"));
  cleaners.push(() => rm(dataDir, { recursive: true, force: true }));
  const hub = createHub({ dataDir, port: 0, storage: { kind: "embedded", port: 0 } });
  cleaners.push(() => hub.stop());
  const { url } = await hub.start();
  const proxy = new FussyProxy(url);
  cleaners.push(() => proxy[Symbol.asyncDispose]());
  const proxied = await proxy.listen();
  const anyone = new HubClient({ url });
  const { token } = await anyone.call("createRoom", { body: { name: room } });
  const credential = { token, identity: await newIdentity() };
  const joinAs = (instance: string, over: Partial<SessionInit> & { at?: string } = {}) => {
    const { at = proxied, ...init } = over;
    const session = createSession({
      hub: { url: at, credential },
      room,
      name: instance,
      instance,
      ...init,
    });
    cleaners.push(() => session.stop());
    session.start();
    return session;
  };
  return { hub, url, proxy, proxied, credential, joinAs };
}

/** What arrives by relay, in order. */
function relayed(session: SignalingSession) {
  const got: unknown[] = [];
  let wake = () => {};
  session.on("relay", ({ data }) => {
    got.push(data);
    wake();
  });
  const until = async (count: number) => {
    while (got.length < count) await new Promise<void>((resolve) => (wake = resolve));
    return got;
  };
  return { got, until };
}

const next = (
  session: SignalingSession,
  name: "transport" | "welcome" | "closed" | "failed" | "error",
) =>
  new Promise<unknown>((resolve) => {
    const off = session.on(name, (event) => {
      off();
      resolve(event);
    });
  });

const peerOf = (session: SignalingSession): PeerId => {
  if (session.welcome === undefined) throw new Error("not welcome yet");
  return session.welcome.peerId;
};

describe("a session in a network that refuses WebSockets", () => {
  it("polls, and relays both ways in order", async () => {
    const { url, proxy, joinAs } = await start();
    const direct = joinAs("direct", { at: url });
    await direct.waitUntilOpen();
    expect(direct.transport).toBe("websocket");
    const polled = joinAs("polled");
    const told = next(polled, "transport");
    await polled.waitUntilOpen();
    expect([await told, polled.transport]).toEqual([{ transport: "polling" }, "polling"]);
    expect(proxy.upgrades).toBeGreaterThanOrEqual(3);
    const [here, there] = [relayed(polled), relayed(direct)];
    const numbers = Array.from({ length: 300 }, (_, i) => i);
    for (const i of numbers) {
      polled.send({ type: "relay", to: peerOf(direct), data: i });
      direct.send({ type: "relay", to: peerOf(polled), data: i });
    }
    expect(await here.until(300)).toEqual(numbers);
    expect(await there.until(300)).toEqual(numbers);
    await expect.poll(() => polled.bufferedBytes).toBe(0);
  });

  it("loses and repeats nothing when answers get lost", async () => {
    const { url, proxy, joinAs } = await start();
    const direct = joinAs("direct", { at: url });
    await direct.waitUntilOpen();
    // Every third answer, and the very first one, whose request holds the hello.
    proxy.isLost = (path, n) => path.includes("/polls/") && (n % 3 === 0 || proxy.lost === 0);
    const polled = joinAs("polled");
    await polled.waitUntilOpen();
    const [here, there] = [relayed(polled), relayed(direct)];
    for (let i = 0; i < 20; i++) {
      polled.send({ type: "relay", to: peerOf(direct), data: i });
      direct.send({ type: "relay", to: peerOf(polled), data: i });
      await Promise.all([here.until(i + 1), there.until(i + 1)]);
    }
    const numbers = Array.from({ length: 20 }, (_, i) => i);
    expect([here.got, there.got]).toEqual([numbers, numbers]);
    expect(proxy.lost).toBeGreaterThan(5);
  });

  it("goes back to a WebSocket when one stays alive, under the same peer id", async () => {
    const { proxy, joinAs } = await start();
    const polled = joinAs("polled", { clock: hurried });
    const first = await polled.waitUntilOpen();
    expect(polled.transport).toBe("polling");
    const failed: unknown[] = [];
    polled.on("failed", (error) => failed.push(error));
    polled.on("closed", (facts) => failed.push(facts));
    const told = next(polled, "transport");
    const again = next(polled, "welcome");
    proxy.webSockets = "pass";
    expect(await told).toEqual({ transport: "websocket" });
    expect(await again).toMatchObject({ peerId: first.peerId });
    expect([polled.online, failed]).toEqual([true, []]);
  });

  it("leaves at once when it is stopped", async () => {
    const { url, joinAs } = await start();
    const direct = joinAs("direct", { at: url });
    await direct.waitUntilOpen();
    const left = new Promise((resolve) => {
      direct.on("presence", ({ event, peer }) => event === "left" && resolve(peer.name));
    });
    const polled = joinAs("polled");
    await polled.waitUntilOpen();
    const { got } = relayed(direct);
    polled.send({ type: "relay", to: peerOf(direct), data: "last words" });
    await polled.stop();
    expect([await left, got]).toEqual(["polled", ["last words"]]);
  });

  it("is told why the hub closes, and goes on trying", async () => {
    const { hub, proxy, joinAs } = await start();
    const polled = joinAs("polled");
    await polled.waitUntilOpen();
    const closed = next(polled, "closed");
    const asked = () => proxy.requests.filter((one) => one.endsWith("/receive")).length;
    await expect.poll(() => proxy.waiting === 1 && asked() > 1).toBe(true);
    await hub.stop();
    expect(await closed).toMatchObject({ code: 4503 });
    expect(polled.phase).not.toBe("failed");
  });
});

describe("a session in a network that cuts WebSockets after a moment", () => {
  it("polls after three of them, and does not go back to one that is cut again", async () => {
    const { proxy, joinAs } = await start();
    proxy.webSockets = { cutMs: 30 };
    const polled = joinAs("polled", { clock: hurried });
    await new Promise<void>((resolve) => {
      polled.on("transport", ({ transport }) => transport === "polling" && resolve());
    });
    const before = proxy.upgrades;
    const lost = next(polled, "closed");
    // Three more are tried beside the poll, and cut before they have proved themselves.
    while (proxy.upgrades < before + 3) await new Promise((resolve) => setTimeout(resolve, 20));
    const race = await Promise.race([lost, Promise.resolve("still open")]);
    expect([race, polled.transport, polled.online]).toEqual(["still open", "polling", true]);
  });
});

/** A second's rest before another WebSocket is tried, rather than 60, and 0.1 s for it to prove itself, rather than 8. */
const hurried = {
  now: () => performance.now(),
  after: (ms: number, run: () => void) => {
    const timer = setTimeout(run, ms === 60_000 ? 100 : ms === 8000 ? 100 : ms);
    return () => clearTimeout(timer);
  },
};

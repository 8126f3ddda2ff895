import { createAgreement, generateIdentityKey, loadIdentity } from "@waybill/sdk/hub-client";
import {
  type ArtifactId,
  CLOSE,
  type JobId,
  LIMITS,
  PROTOCOL_VERSION,
  type RoomId,
} from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { authenticateByRole, helloOf, startSignaling } from "./socket-peer.fixture.ts";

const JOB = "j_0123456789abcdef" as JobId;
const peerId = (instance: string) => `p_${"t".repeat(16)}_${instance}`;

describe("hello", () => {
  it("is answered with a welcome that names the peer after its key and lists the others", async () => {
    await using setup = await startSignaling({
      iceFactsFor: async () => ({ iceServers: [{ urls: ["stun:stun.lab"] }], icePolicy: "relay" }),
    });
    const worker = await setup.join("worker", { instance: "w1" });
    await worker.next("welcome");
    const member = await setup.join("member", { instance: "m1" });
    expect(await member.next("welcome")).toMatchObject({
      protocol: PROTOCOL_VERSION,
      peerId: peerId("m1"),
      room: "lab",
      role: "member",
      peers: [{ peerId: peerId("w1"), role: "worker", name: "worker" }],
      iceServers: [{ urls: ["stun:stun.lab"] }],
      icePolicy: "relay",
      keepAliveMs: LIMITS.keepAliveMs,
    });
    expect(await worker.next("presence")).toMatchObject({
      event: "joined",
      peer: { peerId: peerId("m1") },
    });
  });

  it("must come in time", async () => {
    await using setup = await startSignaling({ helloTimeoutMs: 20 });
    const peer = await setup.connect();
    expect(await peer.closed).toMatchObject({ code: CLOSE.idle });
  });

  it("must come first", async () => {
    await using setup = await startSignaling();
    const peer = await setup.connect();
    peer.say({ type: "ping", t: 1 });
    expect(await peer.closed).toMatchObject({ code: CLOSE.unauthorized });
  });

  it("of another version is refused, even in unknown words", async () => {
    await using setup = await startSignaling();
    const known = await setup.join("member", { protocol: PROTOCOL_VERSION + 1, token: "refused" });
    expect((await known.next("error")).code).toBe("unsupported_version");
    expect(await known.closed).toMatchObject({ code: CLOSE.unsupportedVersion });
    const unknown = await setup.connect();
    unknown.say({ type: "bonjour", protocol: 99 });
    expect(await unknown.closed).toMatchObject({ code: CLOSE.unsupportedVersion });
  });

  it("with a refused token closes for good, and with the store away for now", async () => {
    await using setup = await startSignaling();
    const refused = await setup.join("member", { token: "refused" });
    expect((await refused.next("error")).code).toBe("unauthorized");
    expect(await refused.closed).toMatchObject({ code: CLOSE.unauthorized });
    const away = await setup.join("member", { token: "away" });
    expect(await away.closed).toMatchObject({ code: CLOSE.restarting });
  });

  it("offers a worker only with the role worker", async () => {
    await using setup = await startSignaling();
    const { worker } = helloOf("worker");
    const member = await setup.join("member", worker === undefined ? {} : { worker });
    expect((await member.next("error")).code).toBe("forbidden");
    expect(await member.closed).toMatchObject({ code: CLOSE.unauthorized });
  });

  it("says how a peer serves artifacts, which the hub keeps to itself, and refuses it from viewers", async () => {
    const token = "5".repeat(64);
    const serves = { addresses: [{ url: "http://192.0.2.1:8780", token }] };
    await using setup = await startSignaling();
    const viewer = await setup.join("viewer", { serves });
    expect((await viewer.next("error")).code).toBe("forbidden");
    expect(await viewer.closed).toMatchObject({ code: CLOSE.unauthorized });
    const watcher = await setup.join("member");
    await watcher.next("welcome");
    const worker = await setup.join("worker", { serves });
    await worker.next("welcome");
    await watcher.next("presence");
    const late = await setup.join("owner");
    await late.next("welcome");
    expect(setup.signaling.find("lab" as RoomId, peerId("worker") as never)?.serves).toEqual(
      serves,
    );
    for (const { received } of [watcher, worker, late]) {
      expect(JSON.stringify(received)).not.toContain(token);
    }
  });

  it("tells the others the peer's key and the key messages to it are encrypted for", async () => {
    await using setup = await startSignaling();
    const identity = await loadIdentity(await generateIdentityKey());
    const { publicKey } = identity;
    const { agreement } = await createAgreement(identity);
    const first = await setup.join("viewer");
    await first.next("welcome");
    await (await setup.join("member", { publicKey, agreement })).next("welcome");
    const peer = { peerId: peerId("member"), publicKey, agreement };
    expect(await first.next("presence")).toMatchObject({ event: "joined", peer });
    const later = await setup.join("worker");
    expect((await later.next("welcome")).peers).toContainEqual(expect.objectContaining(peer));
  });

  it("is refused when its agreement was signed by another key", async () => {
    await using setup = await startSignaling();
    const [identity, other] = await Promise.all(
      [generateIdentityKey(), generateIdentityKey()].map(async (key) => loadIdentity(await key)),
    );
    if (identity === undefined || other === undefined) throw new Error("no keys");
    const { agreement } = await createAgreement(other);
    const peer = await setup.join("member", { publicKey: identity.publicKey, agreement });
    expect((await peer.next("error")).code).toBe("unauthorized");
    expect(await peer.closed).toMatchObject({ code: CLOSE.unauthorized });
  });

  it("is refused a second time without closing", async () => {
    await using setup = await startSignaling();
    const member = await setup.join("member");
    await member.next("welcome");
    member.say(helloOf("member"));
    expect((await member.next("error")).code).toBe("invalid_request");
    member.say({ type: "ping", t: 7 });
    expect(await member.next("pong")).toEqual({ type: "pong", t: 7 });
  });

  it("holds back what a peer sends before its welcome, and loses none of it", async () => {
    let letIn = () => {};
    const gate = new Promise<void>((resolve) => (letIn = resolve));
    await using setup = await startSignaling({
      authenticateHello: async (...args) => {
        await gate;
        return authenticateByRole(...args);
      },
    });
    const member = await setup.join("member");
    for (let t = 0; t < 20; t++) member.say({ type: "ping", t });
    letIn();
    for (let t = 0; t < 20; t++) expect((await member.next("pong")).t).toBe(t);
  });
});

describe("presence", () => {
  it("replaces the older socket of a peer id and tells the others it joined anew", async () => {
    await using setup = await startSignaling();
    const viewer = await setup.join("viewer");
    await viewer.next("welcome");
    const older = await setup.join("member");
    await viewer.next("presence");
    const newer = await setup.join("member");
    expect(await older.closed).toMatchObject({ code: CLOSE.replaced });
    expect(await viewer.next("presence")).toMatchObject({ event: "joined" });
    newer.ws.close();
    expect(await viewer.next("presence")).toMatchObject({ event: "left" });
    expect(viewer.received).toEqual([]);
  });

  it("ends with the room's session", async () => {
    await using setup = await startSignaling();
    const here = await setup.join("member");
    await here.next("welcome");
    const elsewhere = await setup.join("member", {}, "other" as RoomId);
    await elsewhere.next("welcome");
    setup.signaling.dropRoom("lab" as RoomId);
    expect(await here.closed).toMatchObject({ code: CLOSE.restarting });
    elsewhere.say({ type: "ping", t: 1 });
    await elsewhere.next("pong");
  });

  it("is told to the hub in order: left before joined when replaced", async () => {
    await using setup = await startSignaling();
    const facts: string[] = [];
    setup.signaling.listen({
      joined: (peer, held) => facts.push(`joined ${peer.info.role} ${held.length}`),
      left: (peer) => facts.push(`left ${peer.info.role}`),
    });
    const { worker } = helloOf("worker");
    await (await setup.join("worker")).next("welcome");
    const jobs = [{ job: JOB, attempt: 2 }];
    const again = await setup.join(
      "worker",
      worker === undefined ? {} : { worker: { ...worker, jobs } },
    );
    await again.next("welcome");
    expect(facts).toEqual(["joined worker 0", "left worker", "joined worker 1"]);
  });
});

describe("peer to peer", () => {
  it("carries signals and relays with the sender's true name and role", async () => {
    await using setup = await startSignaling();
    const worker = await setup.join("worker");
    await worker.next("welcome");
    const member = await setup.join("member");
    await member.next("welcome");
    const data = { kind: "bye", connection: "c1" } as const;
    member.say({ type: "signal", to: peerId("worker"), data, from: peerId("evil") });
    expect(await worker.next("signal")).toEqual({
      type: "signal",
      from: peerId("member"),
      role: "member",
      data,
    });
    member.say({ type: "relay", to: peerId("worker"), data: { type: "command", x: [1] } });
    expect(await worker.next("relay")).toEqual({
      type: "relay",
      from: peerId("member"),
      role: "member",
      name: "member",
      data: { type: "command", x: [1] },
    });
  });

  it("never leaves the room", async () => {
    await using setup = await startSignaling();
    const worker = await setup.join("worker", {}, "other" as RoomId);
    await worker.next("welcome");
    const member = await setup.join("member");
    await member.next("welcome");
    member.say({ type: "relay", to: peerId("worker"), data: {} });
    expect(await member.next("error")).toMatchObject({ code: "not_found", to: peerId("worker") });
  });

  it("refuses commands relayed by a viewer, and nothing else from it", async () => {
    await using setup = await startSignaling();
    const worker = await setup.join("worker");
    await worker.next("welcome");
    const viewer = await setup.join("viewer");
    await viewer.next("welcome");
    viewer.say({ type: "relay", to: peerId("worker"), data: { type: "command" } });
    expect(await viewer.next("error")).toMatchObject({ code: "forbidden" });
    viewer.say({ type: "relay", to: peerId("worker"), data: { type: "subscribe" } });
    expect((await worker.next("relay")).data).toEqual({ type: "subscribe" });
  });

  it("refuses to queue for a peer that does not read, and closes it when the hub's own messages pile up", async () => {
    await using setup = await startSignaling({ closeGraceMs: 25 });
    const slow = await setup.join("viewer");
    await slow.next("welcome");
    slow.ws.pause();
    const worker = await setup.join("worker");
    await worker.next("welcome");
    const data = { type: "events", text: "x".repeat(200_000) };
    let sent = 0;
    while (!worker.received.some((each) => each.type === "error")) {
      worker.say({ type: "relay", to: peerId("viewer"), data });
      sent += 1;
      worker.say({ type: "ping", t: sent });
      await worker.next("pong");
    }
    expect(await worker.next("error")).toMatchObject({
      code: "rate_limited",
      to: peerId("viewer"),
    });
    const left = worker.next("presence", ({ event }) => event === "left");
    const big = { type: "error", code: "internal", message: "x".repeat(1_000_000) } as const;
    for (let i = 0; i < 20; i++)
      setup.signaling.send("lab" as RoomId, peerId("viewer") as never, big);
    await left;
  });
});

describe("jobs", () => {
  it("takes job messages from workers only", async () => {
    await using setup = await startSignaling();
    const heard: string[] = [];
    setup.signaling.listen({ workerMessage: (_, message) => heard.push(message.type) });
    const messages = [
      { type: "job.accept", job: JOB, attempt: 1 },
      { type: "job.decline", job: JOB, attempt: 1, reason: "busy" },
      { type: "job.released", job: JOB, attempt: 1 },
      { type: "command.ack", id: "c1", stage: "received" },
    ] as const;
    for (const role of ["owner", "member", "viewer", "worker"] as const) {
      const peer = await setup.join(role);
      await peer.next("welcome");
      for (const message of messages) peer.say(message);
      if (role === "worker") continue;
      for (const _ of messages) expect((await peer.next("error")).code).toBe("forbidden");
      peer.say({ type: "ping", t: 1 });
      await peer.next("pong");
      expect(heard).toEqual([]);
    }
    const last = await setup.join("worker");
    await last.next("welcome");
    expect(heard).toEqual(["job.accept", "job.decline", "job.released", "command.ack"]);
  });
});

describe("a worker's cache", () => {
  it("is known to the hub from the hello on, and as it changes", async () => {
    await using setup = await startSignaling();
    const [a, b] = ["a".repeat(64), "b".repeat(64)] as ArtifactId[];
    if (a === undefined || b === undefined) throw new Error("no artifacts");
    const { worker } = helloOf("worker");
    const peer = await setup.join(
      "worker",
      worker === undefined ? {} : { worker: { ...worker, cached: [a] } },
    );
    await peer.next("welcome");
    const cached = () => setup.signaling.find("lab" as RoomId, peerId("worker") as never)?.worker;
    expect(cached()?.cached).toEqual([a]);
    peer.say({ type: "worker.cached", artifacts: [b, a] });
    peer.say({ type: "ping", t: 1 });
    await peer.next("pong");
    expect(cached()?.cached).toEqual([b, a]);
    const member = await setup.join("member");
    member.say({ type: "worker.cached", artifacts: [a] });
    expect((await member.next("error")).code).toBe("forbidden");
  });
});

describe("the socket", () => {
  it("is closed with 1009 by a frame that is too large", async () => {
    await using setup = await startSignaling();
    const member = await setup.join("member");
    await member.next("welcome");
    member.ws.send("x".repeat(LIMITS.signalingFrameBytes + 1));
    expect(await member.closed).toMatchObject({ code: 1009 });
  });

  it("is closed with 1003 by a binary frame", async () => {
    await using setup = await startSignaling();
    const member = await setup.join("member");
    await member.next("welcome");
    member.ws.send(Buffer.from([1, 2, 3]));
    expect(await member.closed).toMatchObject({ code: 1003 });
  });

  it("survives what it cannot decode", async () => {
    await using setup = await startSignaling();
    const member = await setup.join("member");
    await member.next("welcome");
    for (const text of ["", "{", "null", "[]", '{"type":"nonsense"}', '{"type":"relay"}']) {
      member.ws.send(text);
      expect((await member.next("error")).code).toBe("invalid_request");
    }
  });

  it("is closed when nothing is heard for two keep-alives, and kept while the peer speaks", async () => {
    let nowMs = 0;
    const keepAliveMs = 20;
    await using setup = await startSignaling({ keepAliveMs, closeGraceMs: 20, clock: () => nowMs });
    const lively = await setup.join("member");
    await lively.next("welcome");
    const dead = await setup.join("viewer");
    await dead.next("welcome");
    dead.ws.pause();
    const speak = async (t: number) => {
      lively.say({ type: "ping", t });
      expect(await lively.next("pong")).toEqual({ type: "pong", t });
    };
    for (const t of [1, 2]) {
      await speak(t);
      nowMs += 1.5 * keepAliveMs;
    }
    await lively.next("presence", ({ event }) => event === "left");
    await speak(3);
  });

  it("is closed with 4503, not refused, while too many have yet to say hello", async () => {
    await using setup = await startSignaling({ maxUngreeted: 1 });
    const first = await setup.connect();
    expect(await (await setup.connect()).closed).toMatchObject({ code: CLOSE.restarting });
    first.say(helloOf("member"));
    await first.next("welcome");
    await (await setup.join("viewer")).next("welcome");
  });

  it("offers no compression", async () => {
    await using setup = await startSignaling();
    expect((await setup.connect()).ws.extensions).toBe("");
  });

  it("is closed with 4503 when the hub stops", async () => {
    await using setup = await startSignaling();
    const member = await setup.join("member");
    await member.next("welcome");
    await setup.signaling.stop();
    expect(await member.closed).toMatchObject({ code: CLOSE.restarting });
  });
});

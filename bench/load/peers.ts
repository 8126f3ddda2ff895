// A process full of peers, told what to do over the IPC channel: members of rooms with keys of their own, each with
// the SDK's signaling session, so that hellos, proofs and keep-alives are those of real clients.
import { HubClient, type SignalingSession, createSession } from "@waybill/sdk/hub-client";
import { generateIdentityKey, loadIdentity, type Credential } from "@waybill/sdk/hub-client";
import { type PeerId, type RoomId, cryptoRandom, randomText } from "@waybill/sdk/protocol";

/** A room and the token of its owner, who invites the others. */
export type LoadRoom = { readonly room: RoomId; readonly token: string };

export type LoadOrder =
  | {
      readonly do: "join";
      readonly url: string;
      readonly rooms: readonly LoadRoom[];
      readonly peersPerRoom: number;
    }
  /** Connects those with these indices in each room. */
  | { readonly do: "connect"; readonly from: number; readonly until: number }
  /** The first two connected peers of each room send each other a message a second. */
  | { readonly do: "talk"; readonly seconds: number }
  | { readonly do: "leave" };

export type LoadAnswer = {
  readonly latenciesMs?: readonly number[];
  readonly sent?: number;
  readonly error?: string;
};

type Member = {
  readonly room: RoomId;
  readonly index: number;
  readonly hub: HubClient;
  session?: SignalingSession;
};

/** What a running job's events look like: a batch of two metrics. */
const PAYLOAD = {
  type: "events",
  id: "abcdefghijkl",
  job: "j_0123456789abcdef",
  events: [1, 2].map((step) => ({
    seq: step,
    time: "2026-01-02T03:04:05.678Z",
    attempt: 1,
    type: "metric",
    data: { step, loss: 0.123456789, lr: 0.001 },
  })),
};
const AT_ONCE = 16;
const members: Member[] = [];

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  const worker = async () => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function join(order: Extract<LoadOrder, { do: "join" }>): Promise<void> {
  const owner = await loadIdentity(await generateIdentityKey());
  await inParallel(order.rooms, async ({ room, token }) => {
    const inviter = new HubClient({ url: order.url, credential: { token, identity: owner } });
    const anyone = new HubClient({ url: order.url });
    for (let index = 0; index < order.peersPerRoom; index++) {
      const { code } = await inviter.call("createInvite", {
        params: { room },
        body: { role: "member" },
      });
      const identity = await loadIdentity(await generateIdentityKey());
      const name = `peer ${index}`;
      const joined = await anyone.call("join", {
        body: { code, publicKey: identity.publicKey, name },
      });
      const credential: Credential = { token: joined.token, identity };
      members.push({ room, index, hub: new HubClient({ url: order.url, credential }) });
    }
  });
}

async function connect({ from, until }: Extract<LoadOrder, { do: "connect" }>): Promise<void> {
  const wanted = members.filter(({ index }) => index >= from && index < until);
  await inParallel(wanted, async (member) => {
    const instance = randomText(8, cryptoRandom);
    const { room, hub } = member;
    member.session = createSession({ hub, room, name: `peer ${member.index}`, instance });
    member.session.start();
    await member.session.waitUntilOpen();
  });
}

async function talk(seconds: number): Promise<LoadAnswer> {
  const latenciesMs: number[] = [];
  let sent = 0;
  const off: (() => void)[] = [];
  const speakers = [...pairs()].flatMap(([a, b]) => [speaker(a, b), speaker(b, a)]);
  for (const { session } of speakers) {
    off.push(
      session.on("relay", ({ data }) => {
        latenciesMs.push(performance.now() - (data as { sentAt: number }).sentAt);
      }),
    );
  }
  const timers: NodeJS.Timeout[] = [];
  for (const { session, to } of speakers) {
    const say = () => {
      sent += 1;
      session.send({ type: "relay", to, data: { ...PAYLOAD, sentAt: performance.now() } });
    };
    timers.push(
      setTimeout(() => {
        say();
        timers.push(setInterval(say, 1000));
      }, Math.random() * 1000),
    );
  }
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  for (const timer of timers) clearTimeout(timer);
  await new Promise((resolve) => setTimeout(resolve, 500));
  for (const end of off) end();
  return { latenciesMs, sent };
}

type Speaker = { readonly session: SignalingSession; readonly to: PeerId };

function speaker(from: SignalingSession, to: SignalingSession): Speaker {
  const peer = to.welcome?.peerId;
  if (peer === undefined) throw new Error("a speaker is not connected");
  return { session: from, to: peer };
}

function* pairs(): Generator<readonly [SignalingSession, SignalingSession]> {
  const byRoom = Map.groupBy(members, ({ room }) => room);
  for (const inRoom of byRoom.values()) {
    const [a, b] = inRoom.toSorted((one, two) => one.index - two.index);
    if (a?.session !== undefined && b?.session !== undefined) yield [a.session, b.session];
  }
}

async function leave(): Promise<void> {
  await Promise.all(members.map(async ({ session }) => session?.stop()));
}

async function perform(order: LoadOrder): Promise<LoadAnswer> {
  switch (order.do) {
    case "join":
      await join(order);
      return {};
    case "connect":
      await connect(order);
      return {};
    case "talk":
      return talk(order.seconds);
    case "leave":
      await leave();
      return {};
  }
}

process.on("message", (order: LoadOrder) => {
  perform(order).then(
    (answer) => process.send?.(answer),
    (error: unknown) => process.send?.({ error: String(error) } satisfies LoadAnswer),
  );
});
process.on("disconnect", () => process.exit());

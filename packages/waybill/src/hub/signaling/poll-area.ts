// Handlers of signaling over HTTP requests: which poll belongs to whom, and how long it is kept.
import { CLOSE, type RoomId, type RouteName, WaybillError } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import type { Caller, Handlers } from "../http/handler.ts";
import { PollWire } from "./poll-wire.ts";
import type { Wire, WireEvents } from "./wire.ts";

export type PollAreaDeps = {
  /** Begins a peer's session on a wire; throws `unreachable` when no more can be taken. */
  readonly accept: (
    from: { readonly room: RoomId; readonly remote: string },
    open: (events: WireEvents) => Wire,
  ) => void;
  readonly keepAliveMs: number;
  /** How long a question waits for something to answer. Default 25 s: proxies cut what is silent for 30 s or more. */
  readonly waitMs?: number | undefined;
  /** How long a closed poll still tells why. */
  readonly closeGraceMs: number;
  readonly now: () => number;
};

type PollRoute = Extract<RouteName, "openPoll" | "sendPoll" | "receivePoll" | "closePoll">;

export type PollArea = {
  readonly handlers: Handlers<PollRoute>;
  /** Forgets closed polls; idempotent. */
  stop(): void;
};

const WAIT_MS = 25_000;
/** A repetition that comes while its original waits comes again after so long; it waits for less. */
const SLOWED_MS = 1000;
/** 1000: the peer left. */
const GOING = 1000;

type Poll = {
  readonly room: RoomId;
  readonly key: string;
  readonly wire: PollWire;
  /** What its peer has said too much is being waited off. */
  isSlowed: boolean;
};

/** Composes the area. */
export function createPollArea(deps: PollAreaDeps): PollArea {
  const { keepAliveMs, now, waitMs = WAIT_MS } = deps;
  const polls = new Map<string, Poll>();
  const graves = new Set<NodeJS.Timeout>();
  let checking: NodeJS.Timeout | undefined;

  function check(): void {
    for (const { wire } of polls.values()) wire.checkAlive();
  }

  function bury(id: string): void {
    const grave = setTimeout(() => {
      graves.delete(grave);
      polls.delete(id);
      if (polls.size > 0) return;
      clearInterval(checking);
      checking = undefined;
    }, deps.closeGraceMs);
    grave.unref();
    graves.add(grave);
  }

  function pollOf(id: string, room: RoomId, caller: Caller | undefined): Poll {
    const poll = polls.get(id);
    if (poll?.room === room && poll.key === keyOf(caller)) return poll;
    throw new WaybillError(
      "not_found",
      "the hub knows no such poll: it was closed, or another hub's",
    );
  }

  function open(id: string, from: { room: RoomId; remote: string }, key: string): Poll {
    const { room } = from;
    let wire: PollWire | undefined;
    deps.accept(from, (events) => {
      const onClose = () => {
        bury(id);
        events.onClose();
      };
      return (wire = new PollWire({ ...events, onClose, keepAliveMs, waitMs, now }));
    });
    if (wire === undefined) throw new WaybillError("internal", "a poll was not opened");
    const poll: Poll = { room, key, wire, isSlowed: false };
    polls.set(id, poll);
    checking ??= setInterval(check, keepAliveMs);
    return poll;
  }

  async function say(poll: Poll, first: number, messages: readonly string[]) {
    if (poll.isSlowed) {
      throw new WaybillError("rate_limited", "this poll says too much at once", {
        retryAfterMs: SLOWED_MS,
      });
    }
    const { next, slowMs } = poll.wire.accept(first, messages);
    if (slowMs === 0) return { next };
    // Its peer sends one request after another, so it is slowed, and nothing is dropped.
    poll.isSlowed = true;
    try {
      await delay(slowMs);
    } finally {
      poll.isSlowed = false;
    }
    return { next };
  }

  return {
    handlers: {
      openPoll: async ({ params: { room, poll: id }, body: { messages }, caller, remote }) => {
        const poll = polls.has(id)
          ? pollOf(id, room, caller)
          : open(id, { room, remote }, keyOf(caller));
        return say(poll, 0, messages);
      },
      sendPoll: async ({ params: { room, poll: id }, body: { first, messages }, caller }) =>
        say(pollOf(id, room, caller), first, messages),
      receivePoll: async ({ params: { room, poll: id }, body: { next }, caller, signal }) =>
        pollOf(id, room, caller).wire.receive(next, signal),
      closePoll: async ({ params: { room, poll: id }, caller }) => {
        pollOf(id, room, caller).wire.close(GOING, "left");
        return { ok: true };
      },
    },
    stop() {
      clearInterval(checking);
      for (const grave of graves) clearTimeout(grave);
      for (const { wire } of polls.values()) wire.close(CLOSE.restarting, "hub is stopping");
    },
  };
}

/** Whoever opened a poll, and nobody else, goes on with it. */
function keyOf(caller: Caller | undefined): string {
  if (caller === undefined) throw new WaybillError("internal", "a route lacks its caller");
  return caller.jkt ?? caller.proofKey ?? caller.tokenId;
}

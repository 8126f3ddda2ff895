// docs/protocol/signaling.md §8, P6: a poll is held to the rate of a socket.
import { type RoomId, WaybillError } from "@waybill/sdk/protocol";
import { expect, it } from "vitest";
import type { Caller } from "../http/handler.ts";
import { createPollArea } from "./poll-area.ts";

it("takes nothing more of a poll that is being slowed, and tells it to come again", async () => {
  let taken = 0;
  const area = createPollArea({
    accept: (_room, open) =>
      void open({ onText: () => void (taken += 1), onClose: () => undefined }),
    keepAliveMs: 15_000,
    closeGraceMs: 100,
    now: () => 0,
  });
  const caller: Caller = {
    room: "lab" as RoomId,
    role: "member",
    subject: "s",
    tokenId: "t",
    jkt: "k",
  };
  const params = { room: "lab" as RoomId, poll: "x".repeat(22) };
  const call = { params, caller, signal: new AbortController().signal };
  await area.handlers.openPoll({ ...call, body: { messages: ["hello"] }, query: {} } as never);
  const answers = Array.from({ length: 400 }, (_, i) =>
    area.handlers.sendPoll({
      ...call,
      body: { first: 1 + i * 256, messages: Array.from({ length: 256 }, () => "m") },
    } as never),
  );
  const refused = (await Promise.allSettled(answers)).flatMap((answer) =>
    answer.status === "rejected" ? [answer.reason as unknown] : [],
  );
  // Two seconds' worth at once, and the request that goes beyond.
  expect(taken).toBeLessThan(8000 + 512);
  expect(refused.length).toBeGreaterThan(300);
  for (const error of refused.slice(0, 1)) {
    expect(error).toBeInstanceOf(WaybillError);
    expect(error).toMatchObject({ code: "rate_limited", retryable: true, retryAfterMs: 1000 });
  }
  // It goes on where it was taken.
  const first = taken;
  const next = area.handlers.sendPoll({ ...call, body: { first, messages: ["m"] } } as never);
  expect(await next).toEqual({ next: first + 1 });
  area.stop();
});

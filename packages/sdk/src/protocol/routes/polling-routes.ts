// Signaling by HTTP requests, for networks that do not let WebSockets through (docs/protocol/signaling.md §8).
import * as v from "valibot";
import { RoomId } from "../ids.ts";
import { ALL, route } from "./route.ts";

const inPoll = v.object({
  room: RoomId,
  /** Random, chosen by the client: opening is repeatable. */
  poll: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22,64}$/, "not a poll id")),
});
/** Frames as a WebSocket would carry them. */
const Frames = v.pipe(v.array(v.string()), v.maxLength(1024));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

export const POLLING_ROUTES = {
  openPoll: route({
    method: "PUT",
    path: "/v1/rooms/:room/polls/:poll",
    roles: ALL,
    summary: "Begin signaling without a WebSocket; the first message is the hello",
    params: inPoll,
    body: v.object({ messages: Frames }),
    response: v.object({ next: Count }),
  }),
  sendPoll: route({
    method: "POST",
    path: "/v1/rooms/:room/polls/:poll/messages",
    roles: ALL,
    summary: "Say something; numbered, so that it may be repeated when the answer was lost",
    params: inPoll,
    body: v.object({ first: Count, messages: Frames }),
    response: v.object({ next: Count }),
  }),
  receivePoll: route({
    method: "POST",
    path: "/v1/rooms/:room/polls/:poll/receive",
    roles: ALL,
    summary: "What the hub says next; waits up to 25 s for something",
    params: inPoll,
    body: v.object({ next: Count }),
    response: v.object({
      /** Number of the first of `messages`. */
      first: Count,
      messages: v.array(v.string()),
      closed: v.optional(v.object({ code: v.number(), reason: v.string() })),
    }),
  }),
  closePoll: route({
    method: "DELETE",
    path: "/v1/rooms/:room/polls/:poll",
    roles: ALL,
    summary: "End a polled signaling session",
    params: inPoll,
    response: v.object({ ok: v.literal(true) }),
  }),
} as const;

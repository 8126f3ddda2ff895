// What a call makes of answers that no hub gave, and how long it waits for a hub that was never there.
import { afterEach, describe, expect, it, vi } from "vitest";
import { RoomId, WaybillError, decodeValue } from "../protocol/index.ts";
import { HubClient, type HubClientInit } from "./index.ts";

const room = decodeValue(RoomId, "lab", "room");

/** A network that gives these answers in turn, the last one for good. */
function networkOf(...answers: (() => Response)[]) {
  const requests: RequestInit[] = [];
  const fetch: typeof globalThis.fetch = async (_, request = {}) => {
    requests.push(request);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === undefined) throw new TypeError("no answer");
    return answer();
  };
  return { fetch, requests };
}

function clientOf(fetch: typeof globalThis.fetch, init: Partial<HubClientInit> = {}): HubClient {
  return new HubClient({ url: "http://hub.test", retryForMs: 5000, ...init, fetch });
}

const list = (client: HubClient, retryForMs?: number) =>
  client.call(
    "listArtifacts",
    { params: { room } },
    retryForMs === undefined ? {} : { retryForMs },
  );

const json = (status: number, body: unknown) => () =>
  new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json" },
  });
const page = () =>
  new Response("<html>Log in</html>", { headers: { "content-type": "text/html" } });
const text = () => new Response("Please log in");
const redirect = () =>
  new Response(undefined, {
    status: 302,
    headers: { location: "http://portal.test/login?session=1" },
  });
const refused = (code: string) => () => {
  throw new TypeError("fetch failed", { cause: Object.assign(new Error(code), { code }) });
};
const good = json(200, { artifacts: [] });

afterEach(() => vi.restoreAllMocks());

describe("a call of the hub", () => {
  it.each([
    ["a login page", page, /a web page came in its place/],
    ["a text", text, /no answer of a hub/],
    ["a redirection", redirect, /redirects to http:\/\/portal\.test\/login, which is not followed/],
  ])("that %s answers may be tried again, and says so", async (_, answer, message) => {
    const portal = networkOf(answer);
    const failing = list(clientOf(portal.fetch), 0);
    await expect(failing).rejects.toMatchObject({
      code: "unreachable",
      hint: expect.stringContaining("login page"),
    });
    await expect(failing).rejects.toThrow(message);
    expect(portal.requests[0]?.redirect).toBe("manual");
    const cured = networkOf(answer, good);
    expect(await list(clientOf(cured.fetch))).toEqual({ artifacts: [] });
    expect(cured.requests).toHaveLength(2);
  });

  it("tells a round trip from the hub's own work, the least of all calls", async () => {
    const now = vi.spyOn(performance, "now");
    const timed = (ms: number, hubMs: number | undefined) => () => {
      now.mockReturnValue(performance.now() + ms);
      const told = hubMs === undefined ? {} : { "server-timing": `cdn;dur=1, hub;dur=${hubMs}` };
      return new Response(JSON.stringify({ artifacts: [] }), {
        headers: { "content-type": "application/json", ...told },
      });
    };
    now.mockReturnValue(0);
    const network = networkOf(
      timed(500, undefined),
      timed(340, 300),
      timed(35, 5),
      timed(15, 3),
      timed(90, 1),
    );
    const client = clientOf(network.fetch);
    const trips: unknown[] = [];
    for (let call = 0; call < 5; call++) {
      await list(client);
      trips.push(client.tripMs);
    }
    // A connection and an answer at first; then answers alone.
    expect(trips).toEqual([undefined, 20, 30, 12, 12]);
  });

  it("that is answered in another shape ends at once: the hub is of another version", async () => {
    const other = networkOf(json(200, { things: [] }));
    await expect(list(clientOf(other.fetch))).rejects.toMatchObject({ code: "invalid_request" });
    expect(other.requests).toHaveLength(1);
  });

  it("gives up sooner on an address where nobody ever answered, and says how long it goes on", async () => {
    for (const code of ["ECONNREFUSED", "ENOTFOUND"]) {
      const told: [unknown, number][] = [];
      const { fetch } = networkOf(refused(code));
      const client = clientOf(fetch, {
        retryForMs: 600_000,
        firstAnswerForMs: 300,
        onRetry: (error, _, { leftMs }) => told.push([error, leftMs]),
      });
      await expect(list(client)).rejects.toThrow(code);
      expect(told[0]?.[0]).toBeInstanceOf(WaybillError);
      expect(told[0]?.[1]).toBeLessThanOrEqual(300);
    }
  });

  it("has all its patience once the hub was heard, and for errors that are the network's own", async () => {
    let answers = 0;
    const heard = networkOf(good, refused("ECONNREFUSED"), refused("ECONNREFUSED"), good);
    const onAnswer = () => (answers += 1);
    const client = clientOf(heard.fetch, { firstAnswerForMs: 0, onAnswer });
    await list(client);
    expect(await list(client)).toEqual({ artifacts: [] });
    expect(answers).toBe(2);
    const offline = networkOf(refused("EAI_AGAIN"), page, good);
    expect(await list(clientOf(offline.fetch, { firstAnswerForMs: 0 }))).toEqual({ artifacts: [] });
  });

  it("counts a refusal of the hub as an answer, a portal's page not", async () => {
    let answers = 0;
    const body = { error: { code: "not_found", message: "no such room" } };
    const { fetch } = networkOf(page, json(404, body));
    const client = clientOf(fetch, { onAnswer: () => (answers += 1) });
    await expect(list(client)).rejects.toMatchObject({ code: "not_found" });
    expect(answers).toBe(1);
  });
});

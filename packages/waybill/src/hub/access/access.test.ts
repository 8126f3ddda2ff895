// Walks every route of the table with every kind of caller.
import {
  LIMITS,
  ROLES,
  ROUTE_NAMES,
  type RouteName,
  type Role,
  routeOf,
} from "@waybill/sdk/protocol";
import { beforeAll, describe, expect, it } from "vitest";
import { type Member, TestHub, TEST_SECRET, newIdentity } from "../hub.fixture.ts";
import type { LogFields, LogLevel } from "../log.ts";
import { Tokens } from "./tokens.ts";

const PARAMS: Readonly<Record<string, string>> = {
  room: "lab",
  key: "k_none",
  upload: `u_${"0".repeat(24)}`,
  artifact: "0".repeat(64),
  ref: "nothing",
  job: `j_${"0".repeat(16)}`,
  file: `${"0".repeat(16)}.png`,
  model: "nothing",
  alias: "nothing",
  poll: "0".repeat(22),
  worker: `p_${"0".repeat(16)}_none`,
};

let nowMs = Date.UTC(2026, 0, 1);
const logged: string[] = [];
const hub = new TestHub({
  clock: () => nowMs,
  log: (level: LogLevel, message: string, fields?: LogFields) =>
    logged.push(JSON.stringify([level, message, fields])),
});
const members = new Map<Role, Member>();
let stranger: Member;

beforeAll(async () => {
  const owner = await hub.createRoom("lab");
  members.set("owner", owner);
  for (const role of ROLES) {
    if (role !== "owner") members.set(role, await hub.join(owner.client, owner.room, role));
  }
  const other = await hub.createRoom("other");
  stranger = await hub.join(other.client, other.room, "member");
});

function pathOf(name: RouteName, room = "lab"): string {
  return routeOf(name).path.replaceAll(/:(\w+)/g, (_, key: string) =>
    key === "room" ? room : (PARAMS[key] ?? ""),
  );
}

async function send(
  name: RouteName,
  headers: Readonly<Record<string, string>>,
): Promise<{ status: number; code: string | undefined }> {
  const { method } = routeOf(name);
  const response = await hub.areas.app.request(`http://hub.test${pathOf(name)}`, {
    method,
    headers,
    // Of no route's schema: whoever may call is told so, and changes nothing.
    ...(method === "GET" || method === "DELETE" ? {} : { body: '"nothing"' }),
  });
  const body: unknown = await response.json();
  const error: unknown =
    typeof body === "object" && body !== null && "error" in body ? body.error : undefined;
  const code =
    typeof error === "object" && error !== null && "code" in error ? String(error.code) : undefined;
  return { status: response.status, code };
}

async function proofOf(member: Member, name: RouteName, options: { path?: string } = {}) {
  const { method } = routeOf(name);
  const path = options.path ?? pathOf(name);
  return {
    authorization: `DPoP ${member.token}`,
    dpop: await member.identity.proof({ method, path, token: member.token, nowMs }),
  };
}

const guarded = ROUTE_NAMES.filter((name) => routeOf(name).roles !== "public");

describe("access", () => {
  it.each(guarded)("%s lets in exactly the roles of the table", async (name) => {
    const { roles } = routeOf(name);
    const admitted: Role[] = [];
    for (const [role, member] of members) {
      const { code } = await send(name, await proofOf(member, name));
      expect(code).not.toBe("unauthorized");
      if (code !== "forbidden") admitted.push(role);
    }
    expect(admitted).toEqual(ROLES.filter((role) => roles.includes(role)));
  });

  it.each(guarded)("%s refuses callers without token and tokens of another room", async (name) => {
    expect(await send(name, {})).toEqual({ status: 401, code: "unauthorized" });
    expect(await send(name, { authorization: "DPoP not.a.token" })).toMatchObject({ status: 401 });
    expect(await send(name, await proofOf(stranger, name))).toEqual({
      status: 403,
      code: "forbidden",
    });
  });

  it.each(guarded)("%s refuses a stolen token without its key", async (name) => {
    const victim = members.get("member");
    const thief = await newIdentity();
    if (victim === undefined) throw new Error("no member");
    const { token } = victim;
    expect(await send(name, { authorization: `Bearer ${token}` })).toMatchObject({ status: 401 });
    expect(await send(name, { authorization: `DPoP ${token}` })).toMatchObject({ status: 401 });
    const stolen = { ...victim, identity: thief };
    expect(await send(name, await proofOf(stolen, name))).toMatchObject({ status: 401 });
  });

  it.each(guarded)("%s refuses a replayed proof, and one made for another path", async (name) => {
    const member = members.get("owner");
    if (member === undefined) throw new Error("no owner");
    const once = await proofOf(member, name);
    expect((await send(name, once)).code).not.toBe("unauthorized");
    expect(await send(name, once)).toEqual({ status: 401, code: "unauthorized" });
    const elsewhere = await proofOf(member, name, { path: "/v1/rooms/lab/elsewhere" });
    expect(await send(name, elsewhere)).toEqual({ status: 401, code: "unauthorized" });
  });

  it("lets an owner's bearer token in without a proof", async () => {
    const owner = members.get("owner");
    const answer = await send("showRoom", { authorization: `Bearer ${owner?.token ?? ""}` });
    expect(answer).toEqual({ status: 200, code: undefined });
  });

  it("refuses proofs from clocks that are too far off, and says so", async () => {
    const member = members.get("viewer");
    if (member === undefined) throw new Error("no viewer");
    const at = async (ms: number) => ({
      authorization: `DPoP ${member.token}`,
      dpop: await member.identity.proof({
        method: "GET",
        path: pathOf("showRoom"),
        token: member.token,
        nowMs: ms,
      }),
    });
    const skew = LIMITS.proofSkewMs - 1000;
    expect(await send("showRoom", await at(nowMs - skew))).toMatchObject({ status: 200 });
    expect(await send("showRoom", await at(nowMs + skew))).toMatchObject({ status: 200 });
    const tooFar = LIMITS.proofSkewMs + 2000;
    expect(await send("showRoom", await at(nowMs - tooFar))).toMatchObject({ status: 401 });
    expect(await send("showRoom", await at(nowMs + tooFar))).toMatchObject({ status: 401 });
  });

  it("refuses tokens of another hub's secret, and of no algorithm", async () => {
    const secret = new TextEncoder().encode("another secret that is long enough, too");
    const foreign = new Tokens({ secret, clock: () => nowMs });
    const owner = members.get("owner");
    const { room } = await hub.createRoom("forged");
    const { token } = await foreign.issue({ room, role: "owner" }, nowMs + 60_000);
    expect(await send("showRoom", { authorization: `Bearer ${token}` })).toMatchObject({
      status: 401,
    });
    const [, payload] = (owner?.token ?? "").split(".");
    const header = Buffer.from('{"alg":"none","typ":"waybill+jwt"}').toString("base64url");
    expect(
      await send("showRoom", { authorization: `Bearer ${header}.${payload ?? ""}.AAAA` }),
    ).toMatchObject({ status: 401 });
  });

  it("refuses a token that is older than the room: a wiped bucket makes another room", async () => {
    const tokens = new Tokens({ secret: TEST_SECRET, clock: () => nowMs - 60_000 });
    const { room } = await hub.createRoom("again");
    const { token } = await tokens.issue({ room, role: "owner" }, nowMs + 60_000);
    const { client } = await hub.member(token);
    await expect(client.call("showRoom", { params: { room } })).rejects.toMatchObject({
      code: "unauthorized",
    });
  });

  it("logs no token, proof or code (I10)", () => {
    const text = logged.join("\n");
    for (const { token } of members.values()) expect(text).not.toContain(token.slice(0, 40));
    expect(text).not.toMatch(/eyJ[\w-]{20,}/);
  });

  it("refuses every guarded route to an expired token, and does not renew it", async () => {
    nowMs += LIMITS.tokenMs + 1000;
    const member = members.get("member");
    if (member === undefined) throw new Error("no member");
    for (const name of guarded) {
      expect(await send(name, await proofOf(member, name))).toEqual({
        status: 401,
        code: "token_expired",
      });
    }
  });
});

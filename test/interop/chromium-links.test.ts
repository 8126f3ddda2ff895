// Links between Chromium and Node: messages and bulk both ways, the hub's relay, and relay-only over a real TURN server.
import path from "node:path";
import { type Browser, chromium } from "playwright-core";
import { type IcePolicy, type PeerId, RoomId, decodeValue } from "@waybill/sdk/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { closeWebRtc, loadWebRtc } from "../../packages/waybill/src/webrtc.ts";
import { CHROMIUM, CHROMIUM_FLAGS, hasChromium, servePage } from "../support/chromium.ts";
import { Lab, ROOM } from "../support/lab.ts";
import { TurnServer } from "../support/turn-server.ts";
import type { Line } from "../support/waybill-process.ts";
import type { LinksReport, LinksTask } from "./chromium-links-page.ts";
import {
  BULK_BYTES,
  MESSAGES,
  answer,
  digestOf,
  openEnd,
  pathOf,
  stream,
} from "./link-exchange.ts";

const refusal = hasChromium ? TurnServer.refusal() : "Chromium (apt-get install chromium)";
if (refusal !== undefined) console.log(`skipped: links to Chromium: ${refusal}`);

describe.skipIf(refusal !== undefined)("a link between Chromium and Node", () => {
  let turn: TurnServer;
  let lab: Lab;
  let pages: Awaited<ReturnType<typeof servePage>>;
  let browser: Browser;
  let token: string;
  beforeAll(async () => {
    turn = await TurnServer.open();
    const hubOptions = ["--ice-server", turn.url];
    lab = await Lab.open({ hubOptions, hubEnv: { WAYBILL_TURN_SECRET: turn.secret } });
    pages = await servePage(path.join(import.meta.dirname, "chromium-links-page.ts"));
    browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_FLAGS });
    const saved = JSON.parse(await lab.read("owner/credentials.json")) as {
      rooms: { token: string }[];
    };
    token = saved.rooms[0]?.token ?? "";
  });
  afterAll(async () => {
    await browser.close();
    await pages[Symbol.asyncDispose]();
    await lab[Symbol.asyncDispose]();
    await turn[Symbol.asyncDispose]();
    closeWebRtc();
  });

  /** Runs both ends to their end. */
  async function exchange(
    kind: LinksTask["kind"],
    policies: { readonly page?: IcePolicy; readonly node?: IcePolicy } = {},
  ) {
    const room = decodeValue(RoomId, ROOM, "room");
    const base = { hub: lab.hubUrl, room, token };
    const node = await openEnd(
      { ...base, name: "node", icePolicy: policies.node ?? "all" },
      kind === "webrtc" ? await loadWebRtc() : undefined,
    );
    const page = await browser.newPage();
    try {
      answer(node.links);
      const { page: icePolicy = "all" } = policies;
      const task: LinksTask = { ...base, name: "page", icePolicy, peer: node.peerId, kind };
      await page.goto(`${pages.url}#${encodeURIComponent(JSON.stringify(task))}`);
      await page.waitForFunction("report.came.length > 0 || report.error !== ''");
      const self = await page.evaluate<PeerId>("report.self");
      const link = node.links.linkTo(self);
      const got = kind === "webrtc" ? await stream(link, node.peerId) : "";
      await page.waitForFunction("report.done || report.error !== ''");
      const report = await page.evaluate<LinksReport>("report");
      const paths = { node: await pathOf(link, kind), page: report.path };
      const digests = { expected: [await digestOf(self), await digestOf(node.peerId)] };
      await page.evaluate("finish()");
      const { signaled, problems } = node;
      return {
        report,
        paths,
        ids: { node: node.peerId, page: self },
        digests: { ...digests, got: [got, report.digest] },
        fromPage: JSON.stringify(signaled),
        fromNode: JSON.stringify(report.signaled),
        problems,
      };
    } finally {
      await page.close();
      await node.stop();
    }
  }

  const inOrder = Array.from({ length: MESSAGES }, (_, i) => `m${i}`);

  it("carries messages and streams both ways over a direct channel", async () => {
    const { report, paths, digests } = await exchange("webrtc");
    expect(report).toMatchObject({ error: "", came: inOrder, problems: [] });
    expect(digests.got).toEqual(digests.expected);
    for (const one of [paths.node, paths.page]) {
      expect(one).toMatchObject({ kind: "webrtc" });
      expect(one).not.toMatchObject({ candidateType: "relay" });
    }
  });

  it("carries messages sealed over the hub's relay where there is no WebRTC", async () => {
    const { report, paths, problems } = await exchange("relay");
    expect(report).toMatchObject({ error: "", came: inOrder, problems: [] });
    expect(paths.page).toMatchObject({ kind: "relay" });
    expect(problems).toEqual([]);
  });

  it.each([
    ["Chromium", { page: "relay" }],
    ["Node", { node: "relay" }],
    ["either", { page: "relay", node: "relay" }],
  ] as const)(
    "goes through a TURN server alone when %s says so, names no address, and is metered at both ends",
    async (_, policies) => {
      const { report, paths, digests, ids, fromPage, fromNode } = await exchange(
        "webrtc",
        policies,
      );
      expect(report).toMatchObject({ error: "", came: inOrder });
      expect(digests.got).toEqual(digests.expected);
      expect(paths.node).toMatchObject({ candidateType: "relay" });
      expect(paths.page).toMatchObject({ candidateType: "relay" });
      const hidden = [
        ...("page" in policies ? [fromPage] : []),
        ...("node" in policies ? [fromNode] : []),
      ];
      for (const text of hidden) {
        expect(text).toContain("typ relay");
        expect(text).not.toMatch(/typ (host|srflx|prflx)/);
        expect(text).not.toMatch(/raddr (?!0\.0\.0\.0)/);
      }
      const { peers } = (await lab.ask(["room", "usage"])) as { peers: Line[] };
      const usage = (id: string) => peers.find(({ peerId }) => peerId === id);
      for (const id of [ids.node, ids.page]) {
        expect(Number(usage(id)?.["sentBytes"])).toBeGreaterThan(BULK_BYTES);
        expect(Number(usage(id)?.["receivedBytes"])).toBeGreaterThan(BULK_BYTES);
      }
    },
  );
});

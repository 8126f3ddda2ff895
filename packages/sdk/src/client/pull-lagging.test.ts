import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type RangeFault,
  RangeServer,
  type RangeServerRequest,
  TransferFixture,
  digestsOf,
  noise,
} from "../testing/index.ts";

const MIB = 1024 * 1024;
const BYTES = 48 * MIB;
let fixture: TransferFixture;
let mirror: RangeServer;

beforeEach(async () => {
  fixture = await TransferFixture.open();
});

afterEach(async () => {
  await mirror.stop();
  await fixture.close();
});

describe("a cheap pull with a mirror that does badly", () => {
  const half = ({ start, end }: RangeServerRequest) => Math.floor((end - start) / 2);
  const cases: readonly [string, Partial<Pick<RangeServer, "bytesPerS" | "fault">>][] = [
    ["drips", { bytesPerS: 20_000 }],
    ["sends nothing", { fault: (): RangeFault => ({ type: "stall", afterBytes: 0 }) }],
    ["stalls half-way", { fault: (one): RangeFault => ({ type: "stall", afterBytes: half(one) }) }],
    ["closes half-way", { fault: (one): RangeFault => ({ type: "cut", afterBytes: half(one) }) }],
  ];

  // Within seconds, in virtual time (source-lag.test.ts).
  it.each(cases)("is done by the store when it %s", { timeout: 60_000 }, async (_, how) => {
    const root = fixture.tree("data", { "big.bin": noise(BYTES, 1) });
    await fixture.push(root);
    mirror = new RangeServer([["big.bin", readFileSync(join(root, "big.bin"))]]);
    await Object.assign(mirror, how).start();
    const { report } = await fixture.pull("out", { mirrors: [mirror.url] });
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(report.find(({ source }) => source === "s3")?.bytes).toBeGreaterThan(BYTES / 4);
  });
});

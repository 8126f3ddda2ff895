import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import {
  exchange,
  md5,
  sampleBytes,
  signHeaders,
  startTestStore,
  testCredential,
  type TestResponse,
} from "./testing/test-store.ts";

/** Deaths in a run; each takes about half a second. */
const DEATHS = 14;
const KEYS = ["small", "large", "parts", "gone"] as const;

/** A store in a process of its own, which can be killed. */
class Victim {
  readonly #child: ChildProcess;
  readonly port: number;
  /** Requests left until it is killed. */
  lives = Infinity;
  /** When: as the last of them sets out, or when it was answered, with others under way. */
  dies: "asked" | "answered" = "asked";

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  static async start(dataDir: string): Promise<Victim> {
    const script = `
      import { createStore } from ${JSON.stringify(new URL("store.ts", import.meta.url).href)};
      const store = createStore(${JSON.stringify({
        dataDir,
        host: "127.0.0.1",
        port: 0,
        region: "us-east-1",
        credentials: [testCredential],
        minPartBytes: 1,
      })});
      console.log((await store.start()).endpoint);`;
    const child = spawn(
      process.execPath,
      ["--conditions=@waybill/source", "--input-type=module", "--eval", script],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const lines = createInterface({ input: child.stdout });
    const [endpoint] = (await once(lines, "line")) as [string];
    return new Victim(child, Number(new URL(endpoint).port));
  }

  async send(
    method: string,
    path: string,
    request: { query?: string; body?: Uint8Array | string } = {},
  ): Promise<TestResponse> {
    const headers = signHeaders(method, path, this.port, request, Date.now());
    const query = request.query === undefined ? "" : `?${request.query}`;
    const answer = exchange({ port: this.port, method, headers, body: request.body }, path + query);
    this.lives -= 1;
    const kill = () => this.#child.kill("SIGKILL");
    if (this.lives === 0 && this.dies === "asked") setImmediate(kill);
    if (this.lives === 0 && this.dies === "answered") void answer.then(kill, kill);
    return answer;
  }

  /** Until the process is gone. */
  async gone(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode === null && signalCode === null) await once(this.#child, "exit");
  }
}

/** What a key may hold: `undefined` for "no object". */
type Content = Buffer | undefined;

/** Contents a key may be found with after a death: the last acknowledged, or the one under way. */
class Expectation {
  readonly #allowed = new Map<string, Content[]>(KEYS.map((key) => [key, [undefined]]));

  begin(key: string, content: Content): void {
    this.#allowed.get(key)!.push(content);
  }

  acknowledge(key: string, content: Content): void {
    this.#allowed.set(key, [content]);
  }

  /** True when a key may hold this; from then on it is what it holds. */
  settle(key: string, found: Content): boolean {
    const allowed = this.#allowed.get(key)!.map((content) => content && md5(content));
    this.acknowledge(key, found);
    return allowed.includes(found && md5(found));
  }
}

/** Writes for ever, until the store dies under it. */
async function writeUntilDeath(victim: Victim, expected: Expectation, seed: number): Promise<void> {
  const put = async (key: string, body: Buffer): Promise<void> => {
    expected.begin(key, body);
    const { status } = await victim.send("PUT", `/bucket/${key}`, { body });
    expect(status).toBe(200);
    expected.acknowledge(key, body);
  };
  const parts = async (round: number): Promise<void> => {
    const bodies = [sampleBytes(300_000, round), sampleBytes(70_000, round + 1)];
    const { text } = await victim.send("POST", "/bucket/parts", { query: "uploads" });
    const uploadId = /<UploadId>([^<]+)/.exec(text)?.[1] ?? "";
    const listed: string[] = [];
    for (const [index, body] of bodies.entries()) {
      const query = `partNumber=${index + 1}&uploadId=${uploadId}`;
      const { headers } = await victim.send("PUT", "/bucket/parts", { query, body });
      const number = `<PartNumber>${index + 1}</PartNumber>`;
      listed.push(`<Part>${number}<ETag>${headers.etag}</ETag></Part>`);
    }
    expected.begin("parts", Buffer.concat(bodies));
    const { status } = await victim.send("POST", "/bucket/parts", {
      query: `uploadId=${uploadId}`,
      body: `<CompleteMultipartUpload>${listed.join("")}</CompleteMultipartUpload>`,
    });
    expect(status).toBe(200);
    expected.acknowledge("parts", Buffer.concat(bodies));
  };
  const remove = async (): Promise<void> => {
    expected.begin("gone", undefined);
    await victim.send("DELETE", "/bucket/gone");
    expected.acknowledge("gone", undefined);
  };
  const loops = [
    (round: number) => put("small", sampleBytes(2000, round)),
    (round: number) => put("large", sampleBytes(1_500_000, round)),
    parts,
    async (round: number) => {
      await put("gone", sampleBytes(100_000, round));
      await remove();
    },
  ].map(async (step) => {
    for (let round = seed; ; round++) await step(round);
  });
  const ends = await Promise.allSettled(loops);
  for (const end of ends) {
    const reason: unknown = end.status === "rejected" ? end.reason : undefined;
    expect(reason).toMatchObject({ code: expect.stringMatching(/ECONNRESET|EPIPE|ECONNREFUSED/) });
  }
}

test(
  "holds each key's old bytes or its new ones, whole, after a SIGKILL at any instant",
  {
    timeout: 90_000,
  },
  async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "waybill-crash-"));
    try {
      const expected = new Expectation();
      for (let death = 0; death < DEATHS; death++) {
        const victim = await Victim.start(dataDir);
        await victim.send("PUT", "/bucket");
        for (const key of KEYS) {
          const got = await victim.send("GET", `/bucket/${key}`);
          expect([200, 404]).toContain(got.status);
          const found = got.status === 200 ? got.body : undefined;
          expect(expected.settle(key, found), `${key} after death ${death}`).toBe(true);
        }
        // A different instant each time: somewhere in the first hundred writes, four of which are under way at once.
        victim.lives = 2 + ((death * 37) % 101);
        victim.dies = death % 2 === 0 ? "asked" : "answered";
        await writeUntilDeath(victim, expected, death * 10_000);
        await victim.gone();
      }
      await checkNothingLeaks(dataDir);
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  },
);

/** With every object and upload gone, no blob may be left. */
async function checkNothingLeaks(dataDir: string): Promise<void> {
  await using store = await startTestStore({ dataDir });
  await store.store.expireOlderThan({ bucket: "bucket", olderThanMs: -60_000 });
  for (const key of KEYS) await store.send("DELETE", `/bucket/${key}`);
  await expect.poll(() => store.blobFiles()).toEqual([]);
}
